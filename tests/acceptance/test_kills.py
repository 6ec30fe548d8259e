"""kill -9 at random moments of an index run: nothing is lost, nothing doubled, and the next run goes on."""

from __future__ import annotations

import random
import signal
import subprocess
import time

import pytest

POOL = 32  # chunks: embed.pool_chunks of these tests


def kill_in_mid_run(semantik, folder, seconds: float) -> bool:
    """Start an index run and kill it with all its children; False if it was done before."""
    process = semantik.start("index", str(folder))
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True
    process.communicate()
    return False


def prove(semantik, corpus, *, files: int, kills: int, seed: int) -> None:
    """Kill ``kills`` runs, editing and deleting files between them, let one more finish, and hold all to account."""
    chance = random.Random(seed)
    folder = corpus(files)
    killed = 0
    for _ in range(kills):
        killed += kill_in_mid_run(semantik, folder, chance.uniform(0.8, 5.0))
        victim = folder / f"file{chance.randrange(files):04}.txt"
        if victim.exists() and chance.random() < 0.3:
            victim.unlink()
        else:
            victim.write_text(f"Edited at kill {killed}, seed {seed}: {victim.name} " + "again " * 5)
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
    lines = semantik.embedded()
    doubled = len(lines) - len(set(lines))
    assert doubled <= killed * 2 * POOL, f"{doubled} texts were embedded twice in {killed} kills"
    if kills:
        assert killed > 0, "no run was killed: the test proved nothing"


def test_a_few_kills(semantik, corpus):
    prove(semantik, corpus, files=120, kills=3, seed=int(time.time()))


@pytest.mark.chaos
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(4))
def test_many_kills(semantik, corpus, seed):
    prove(semantik, corpus, files=400, kills=12, seed=seed)


def test_a_second_process_is_told_who_has_the_folder(semantik, corpus):
    folder = corpus(150)
    first = semantik.start("index", str(folder))
    try:
        deadline = time.monotonic() + 30
        while not (semantik.data / "owner.json").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        answer = semantik.run("index", str(folder), code=1)
        assert str(first.pid) in answer["error"]["message"]
        assert semantik.run("status")["collections"] is not None  # reading works meanwhile
    finally:
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=60)
    assert first.returncode != 0
    result = semantik.run("index", str(folder))
    assert result["documents"]["seen"] == 150
    lines = semantik.embedded()
    assert len(lines) == len(set(lines))  # an orderly stop embeds nothing twice
