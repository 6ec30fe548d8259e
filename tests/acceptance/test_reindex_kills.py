"""kill -9 at random moments of a reindex, each followed by another run: it finishes, with one active index."""

from __future__ import annotations

import json
import random
import sqlite3
import time

import pytest

from tests.acceptance.conftest import kill_family


def build_of(semantik) -> tuple[int, str] | None:
    """Return ``(operation, phase)`` of the running build, or None."""
    ledger = sqlite3.connect(semantik.data / "ledger.sqlite3")
    try:
        row = ledger.execute("select operation_id, build from generations where state = 'building'").fetchone()
        return (row[0], json.loads(row[1])["phase"]) if row else None
    finally:
        ledger.close()


def prove(semantik, corpus, *, files: int, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    folder = corpus(files)
    assert semantik.run("index", str(folder))["outcome"] == "succeeded"
    semantik.configure(log_path=str(semantik.log), sleep_ms_per_text=10)  # so that it is not done before it is killed
    phases: list[str] = []
    arguments = ["reindex", "default", "--set", "embedding.dimension=32"]
    for _ in range(kills):
        process = semantik.start(*arguments)
        enough = len(semantik.embedded()) + chance.randint(1, files * 3 // kills)
        until = time.monotonic() + chance.uniform(4, 12)
        while process.poll() is None and len(semantik.embedded()) < enough and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.5))
        killed = kill_family(process)
        found = build_of(semantik)
        if found is not None:
            phases.append(found[1])
            arguments = ["operations", "resume", f"reindex-{found[0]}", "--wait"]
        elif killed and len(semantik.run("operations", "list", "--all")["operations"]) == 1:
            phases.append("before")  # killed before the operation began
        else:
            break
    if build_of(semantik) or phases[-1:] == ["before"]:
        assert semantik.run(*arguments, timeout=300)["outcome"] == "succeeded"
    assert phases, "no run was killed in its middle: nothing is proven"
    shown = semantik.run("collections", "show", "default")
    assert {one["state"]: one["dimension"] for one in shown["generations"]} == {"active": 32, "kept": 64}
    report = semantik.run("verify")
    assert (report["missing"], report["orphaned"], report["stale"], report["pending"]) == (0, 0, 0, 0)
    assert report["documents"] == 2 * files
    ended = {one["kind"]: one["outcome"] for one in semantik.run("operations", "list", "--all")["operations"]}
    assert ended == {"sync": "succeeded", "reindex": "succeeded"}


def test_a_few_kills_of_a_reindex(semantik, corpus):
    prove(semantik, corpus, files=60, kills=2, seed=int(time.time()))


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_ten_kills_of_a_reindex(semantik, corpus):
    prove(semantik, corpus, files=400, kills=10, seed=int(time.time()))
