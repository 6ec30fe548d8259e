"""doctor on disks: real ones, of a size of their own, which are mounted in a namespace and gone with its process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

#: A process that sees mounts of its own, whoever it belongs to.
APART = ("unshare", "--user", "--map-root-user", "--mount")

#: Mounts disks, lets doctor look at a data folder and a folder for temporary files on them, and prints what it finds.
LOOK = """
import json, subprocess, sys, tempfile
from pathlib import Path
from semantik_pipeline.doctor.examination import Patient
from semantik_pipeline.doctor.hosts import look_at_blobs_disk, look_at_disks
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
answers = []
for case in json.loads(sys.argv[2]):
    places = {name: Path(sys.argv[1]) / case["name"] / name for name in ("data", "blobs", "temporary") if name in case}
    for name, place in places.items():
        place.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", case[name], "disk", place], check=True)
    (places["temporary"] / "filler").write_bytes(bytes(case.get("used", 0)))
    tempfile.tempdir = str(places["temporary"])
    blob = {"url": case["url"].format(**places)} if "url" in case else {}
    with Runtime(load_settings(data_dir=places["data"] / "not" / "made" / "yet", blob=blob)) as runtime:
        patient = Patient(runtime=runtime)
        answers.append([one.to_dict() for look in (look_at_disks, look_at_blobs_disk) for one in look(patient)])
print(json.dumps(answers))
"""

ROOMY, LOW, FULL = "size=3g", "size=1g", "size=90m"

#: What a disk of a kind is found to be, for the data folder and for temporary files.
CASES: tuple[tuple[dict[str, Any], list[str]], ...] = (
    ({"data": ROOMY, "temporary": ROOMY}, ["ok", "ok"]),
    ({"data": LOW, "temporary": ROOMY}, ["warning", "ok"]),
    ({"data": FULL, "temporary": LOW}, ["broken", "warning"]),
    ({"data": ROOMY, "temporary": FULL}, ["ok", "broken"]),
    ({"data": ROOMY, "temporary": "size=110m", "used": 20_000_000}, ["ok", "broken"]),  # what is free counts
    ({"data": f"ro,{ROOMY}", "temporary": ROOMY}, ["broken"]),  # nothing else matters then
)


@pytest.fixture
def apart() -> tuple[str, ...]:
    """How to run a command that may mount."""
    if shutil.which(APART[0]) is None:
        pytest.skip("there is no program unshare here, which mounts apart need")
    tried = subprocess.run([*APART, "mount", "-t", "tmpfs", "disk", "/mnt"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"this system lets nobody mount, not even apart: {tried.stderr.strip()}")
    return APART


def test_a_disk_is_fine_low_full_or_unwritable(apart: tuple[str, ...], tmp_path: Path) -> None:
    cases = [{"name": str(number), **case} for number, (case, _) in enumerate(CASES)]
    command = [*apart, sys.executable, "-c", LOOK, str(tmp_path), json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [[one["status"] for one in findings] for findings in found] == [statuses for _, statuses in CASES]
    for number, findings in enumerate(found):
        for name, one in zip(("data", "temporary"), findings, strict=False):
            assert str(tmp_path / str(number) / name) in one["message"], "it says which"
            assert bool(one["remedy"]) == (one["status"] != "ok"), "and what to do"


@pytest.mark.parametrize("url", ["{blobs}", "file://{blobs}/not/made", "local://{blobs}"])
def test_the_disk_of_blobs_elsewhere_counts_too(apart: tuple[str, ...], tmp_path: Path, url: str) -> None:
    sizes = {"ok": ROOMY, "warning": LOW, "broken": FULL}
    cases = [{"name": k, "data": ROOMY, "temporary": ROOMY, "blobs": size, "url": url} for k, size in sizes.items()]
    cases.append({"name": "same", "data": LOW, "temporary": ROOMY, "url": url.format(blobs="{data}/blobs")})
    cases.append({"name": "far", "data": ROOMY, "temporary": ROOMY, "url": "memory://blobs"})
    command = [*apart, sys.executable, "-c", LOOK, str(tmp_path), json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    *elsewhere, same, far = json.loads(done.stdout)
    for status, findings in zip(sizes, elsewhere, strict=True):
        assert [one["status"] for one in findings] == ["ok", "ok", status]
        assert (findings[-1]["check"], bool(findings[-1]["remedy"])) == ("disk of the blobs", status != "ok")
        assert str(tmp_path / status / "blobs") in findings[-1]["message"]
    assert [one["status"] for one in same] == ["warning", "ok"], "one disk is reported once"
    assert [one["status"] for one in far] == ["ok", "ok"]
