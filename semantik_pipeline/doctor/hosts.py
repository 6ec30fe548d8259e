"""Checks of this host: its disks, and the owner of the data folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from semantik_pipeline.doctor.examination import Check, Patient
from semantik_pipeline.doctor.findings import Finding, broken, warn, well
from semantik_pipeline.errors import SettingsError

#: Free bytes below which a warning is given, and below which hardly anything works.
ENOUGH, TOO_LITTLE = 2_000_000_000, 100_000_000


def look_at_disks(patient: Patient) -> Iterator[Finding]:
    """Check the free space in the data folder and in the folder of temporary files."""
    there = _existing(patient.runtime.settings.data_dir)
    if not os.access(there, os.W_OK | os.X_OK):
        yield broken("data folder", f"{there} is not writable for this user", "Choose another with --data-dir.")
        return
    yield _room("disk of the data folder", there)
    yield _room("disk of temporary files", Path(tempfile.gettempdir()))


def look_at_blobs_disk(patient: Patient) -> Iterator[Finding]:
    """Check the free space in the folder of ``blob.url``, if it is on another disk than the data folder."""
    runtime = patient.runtime
    if runtime.settings.blob.url is None:
        return
    try:
        folder = runtime.blobs.folder
    except SettingsError:
        return  # the check of the blobs reports it
    if folder is None:
        return
    there = _existing(folder)
    if there.stat().st_dev != _existing(runtime.settings.data_dir).stat().st_dev:
        yield _room("disk of the blobs", there)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _room(what: str, place: Path) -> Finding:
    free = shutil.disk_usage(place).free
    told = f"{place} has {free / 1e9:,.1f} GB free"
    if free < TOO_LITTLE:
        return broken(what, told, "Free disk space. Saved data is safe.")
    if free < ENOUGH:
        return warn(what, told, "Free disk space. `semantik status` shows how much the data folder uses.")
    return well(what, told)


def look_at_owner(patient: Patient) -> Iterator[Finding]:
    """Report the process that uses the data folder; without a fleet, it is one process at a time."""
    runtime = patient.runtime
    if runtime.settings.fleet:
        return
    owner = runtime.owner()
    user = f"process {owner['pid']} ({owner['command']})" if owner else "no process"
    yield well("data folder", f"{runtime.settings.data_dir}, in use by {user}")


CHECKS = (
    Check(name="disk", look=look_at_disks, remedy="Check that the disk of the data folder works."),
    Check(name="disk of the blobs", look=look_at_blobs_disk, remedy="Check that the disk of blob.url works."),
    Check(name="data folder", look=look_at_owner, remedy="Check that the disk of the data folder works."),
)
