"""Checks of this host: its disks, and the owner of the data folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from semantik_pipeline.doctor.examination import Check, Patient
from semantik_pipeline.doctor.findings import Finding, broken, warn, well

#: Free bytes below which a warning is given, and below which hardly anything works.
ENOUGH, TOO_LITTLE = 2_000_000_000, 100_000_000


def look_at_disks(patient: Patient) -> Iterator[Finding]:
    """Check the free space in the data folder and in the folder of temporary files."""
    folder = patient.runtime.settings.data_dir
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        yield broken("data folder", f"{there} is not writable for this user", "Choose another with --data-dir.")
        return
    for what, place in (("disk of the data folder", there), ("disk of temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free
        told = f"{place} has {free / 1e9:,.1f} GB free"
        if free < TOO_LITTLE:
            yield broken(what, told, "Free disk space. Saved data is safe.")
        elif free < ENOUGH:
            yield warn(what, told, "Free disk space. `semantik status` shows how much the data folder uses.")
        else:
            yield well(what, told)


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
    Check(name="data folder", look=look_at_owner, remedy="Check that the disk of the data folder works."),
)
