"""kill -9 at random moments of an index run: nothing is lost or duplicated, and the next run continues."""

from __future__ import annotations

import json
import math
import random
import signal
import time
from collections.abc import Callable

import psutil
import pytest

from tests.acceptance.conftest import kill_family

#: Texts that may be embedded but not saved: one pool on the device, one waiting for the writer and one being written.
#: In these tests, each has at most embed.pool_chunks texts plus the surplus of its last document.
IN_FLIGHT = 3 * (32 + 4)


def kill_in_mid_run(semantik, folder, now: Callable[[float], bool]) -> bool:
    """Start an index run and kill it with all its children when ``now(seconds)`` is true; False if it ended before."""
    process = semantik.start("index", str(folder))
    started = time.monotonic()
    while process.poll() is None and not now(time.monotonic() - started):
        time.sleep(0.01)
    return kill_family(process)


def random_moment(semantik, chance: random.Random, texts: int) -> Callable[[float], bool]:
    """Return a condition that is true shortly after up to ``texts`` more texts are embedded.

    In a quarter of the cases it also becomes true after a short time, perhaps before anything is embedded.
    """
    enough = len(semantik.embedded()) + chance.randint(1, texts)
    soon = chance.uniform(0.5, 2.5) if chance.random() < 0.25 else math.inf
    reached: list[float] = []
    rest = chance.uniform(0, 0.2)

    def now(passed: float) -> bool:
        if not reached and len(semantik.embedded()) >= enough:
            reached.append(passed)
        return passed >= soon or (bool(reached) and passed >= reached[0] + rest)

    return now


def prove(semantik, corpus, *, files: int, kills: int, seed: int) -> None:
    """Kill ``kills`` runs, editing and deleting files between them; let a last run finish, and check the result."""
    chance = random.Random(seed)
    folder = corpus(files)
    # Slow enough that even on a fast machine the first runs leave work for the later ones.
    semantik.configure(log_path=str(semantik.log), sleep_ms_per_text=4)
    marks: list[tuple[int, bool]] = []
    for _ in range(kills):
        killed = kill_in_mid_run(semantik, folder, random_moment(semantik, chance, files * 4 // kills))
        marks.append((len(semantik.embedded()), killed))
        victim = folder / f"file{chance.randrange(files):04}.txt"
        if victim.exists() and chance.random() < 0.3:
            victim.unlink()
        else:
            victim.write_text(f"Edited after run {len(marks)}, seed {seed}: {victim.name} " + "again " * 5)
    result = semantik.run("index", str(folder), timeout=300)
    here = len(list(folder.iterdir()))
    documents = result["documents"]
    assert documents["seen"] == here
    assert documents["seen"] == documents["new"] + documents["changed"] + documents["unchanged"] + documents["skipped"]
    report = semantik.run("verify")
    assert (report["missing"], report["orphaned"], report["stale"]) == (0, 0, 0)
    assert report["documents"] == here
    assert report["points_found"] == report["points_expected"] == result["chunks"]["total"]
    listed = semantik.run("documents", "list")
    assert {row["status"] for row in listed["documents"]} == {"indexed"}
    killed = sum(killed for _, killed in marks)
    assert killed > kills // 2, f"{killed} of {kills} runs were killed in their middle: too few to prove anything"
    prove_only_what_was_in_flight_is_embedded_again(semantik.embedded(), marks)


def prove_only_what_was_in_flight_is_embedded_again(lines: list[str], marks: list[tuple[int, bool]]) -> None:
    """Check that a text was only embedded twice if it was in flight at a kill.

    ``lines`` are the texts in the order of their embedding. ``marks`` has, for each run except the last, the number of
    lines at its end and whether it was killed.
    """
    last = {}
    for place, line in enumerate(lines):
        if line in last:
            mark, killed = next((one for one in marks if last[line] < one[0]), (len(lines), False))
            assert mark <= place, f"line {place} was embedded twice by one run"
            assert killed, f"line {place} was embedded by a run that ended orderly"
            assert mark - last[line] <= IN_FLIGHT, f"line {place} was embedded and saved long before the kill at {mark}"
        last[line] = place


def test_a_few_kills(semantik, corpus):
    prove(semantik, corpus, files=120, kills=3, seed=int(time.time()))


@pytest.mark.chaos
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(4))
def test_many_kills(semantik, corpus, seed):
    prove(semantik, corpus, files=400, kills=12, seed=seed)


def test_a_process_that_is_stopped_past_its_leases_goes_on_and_loses_nothing(semantik, corpus):
    """Its own maintenance frees its leases; it finishes what it was working on too late, which does no harm."""
    folder = corpus(60)
    semantik.environment["SEMANTIK_WORK_LEASE"] = "1"
    process = semantik.start("index", str(folder))
    try:
        deadline = time.monotonic() + 60
        while len(semantik.embedded()) < 40 and time.monotonic() < deadline:
            assert process.poll() is None, "it was done before it was stopped"
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:  # texts written until then count
            time.sleep(0.01)
        stopped_at = len(semantik.embedded())
        time.sleep(2.5)
        assert len(semantik.embedded()) == stopped_at < 240
    finally:
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert (result["outcome"], result["documents"]["new"]) == ("succeeded", 60)
    report = semantik.run("verify")
    assert report["points_found"] == report["points_expected"] == result["chunks"]["total"] == 240
    assert (report["missing"], report["orphaned"], report["stale"]) == (0, 0, 0)


def test_a_second_process_is_told_who_has_the_folder(semantik, corpus):
    folder = corpus(150)
    semantik.configure(log_path=str(semantik.log), sleep_ms_per_text=50)  # half a minute for the other commands
    first = semantik.start("index", str(folder))
    try:
        deadline = time.monotonic() + 60
        while not (semantik.data / "owner.json").exists():
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        answer = semantik.run("index", str(folder), code=1)
        assert str(first.pid) in answer["error"]["message"]
        assert semantik.run("status")["owner"]["pid"] == first.pid  # commands that only read work meanwhile
    finally:
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=60)
    assert first.returncode != 0
    semantik.configure(log_path=str(semantik.log))
    result = semantik.run("index", str(folder))
    assert result["documents"]["seen"] == 150
    lines = semantik.embedded()
    assert len(lines) == len(set(lines))  # a graceful stop makes nothing be embedded twice
