"""``semantik worker``'s supervisor over processes that are no workers: replaced, waited for, killed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from semantik_pipeline.settings import load_settings
from workers import supervisor
from workers.profiles import profile
from workers.supervisor import PATIENCE, Supervisor, wait_before

#: What stands for a worker: it notes its start, says what it is told to say, and ends as it is told.
PROCESS = """
import os, signal, sys, time
folder, pipe = os.environ["NOTES"], int(os.environ["SEMANTIK_WORKER_SUPERVISOR_PIPE"])
def note(word):
    with open(os.path.join(folder, "notes"), "a") as file:
        file.write(f"{time.monotonic()} {os.getpid()} {word}\\n")
def told(word):
    return os.path.exists(os.path.join(folder, word))
def end(*_):
    note("ended")
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if told("deaf") else end)
note("started")
if told("broken"):
    sys.exit(1)
time.sleep(0.3 if told("slow") else 0)
os.write(pipe, b"ready\\n")
note("ready")
if told("brief"):
    os.unlink(os.path.join(folder, "brief"))
    os._exit(3)
while True:
    time.sleep(0.02)
    if told("die"):
        os.unlink(os.path.join(folder, "die"))
        note("died")
        os._exit(3)
    if told("grow"):
        os.unlink(os.path.join(folder, "grow"))
        os.write(pipe, b"replace\\n")
"""


class Notes:
    """What the processes noted, and files by which they are told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def tell(self, word: str) -> None:
        (self.folder / word).touch()

    def all(self, word: str) -> list[tuple[float, int]]:
        """(time, process) of each time that something happened."""
        file = self.folder / "notes"
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [(float(at), int(pid)) for at, pid, noted in lines if noted == word]


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notes:
    monkeypatch.setenv("NOTES", str(tmp_path))
    monkeypatch.setattr(supervisor, "COMMAND", (sys.executable, "-S", "-c", PROCESS))
    monkeypatch.setattr(supervisor, "LOOK", 0.02)
    return Notes(tmp_path)


@contextmanager
def running(tmp_path: Path, *, processes: int = 1) -> Iterator[list[int]]:
    """A supervisor in a thread, stopped at the end; the list gets its exit code."""
    settings = load_settings(data_dir=tmp_path, worker={"processes": processes, "soft_shutdown": 0.3})
    over: list[int] = []
    one = Supervisor(settings, profile("all"), said={})
    thread = threading.Thread(target=lambda: over.append(one.run()))
    thread.start()
    try:
        yield over
    finally:
        one.stop()
        thread.join(20)
    assert not thread.is_alive()


def until(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_that_dies_is_replaced_and_one_that_keeps_dying_ever_later(
    notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[int] = []

    def noted(number: int) -> float:
        failures.append(number)
        return wait_before(number)

    monkeypatch.setattr(supervisor, "wait_before", noted)
    with running(tmp_path) as over:
        for deaths in (1, 2):
            until(lambda deaths=deaths: len(notes.all("ready")) == deaths)
            notes.tell("die")
        until(lambda: len(notes.all("ready")) == 3)
    assert over == [0]
    died, started = notes.all("died"), notes.all("started")
    waits = [start - death for (death, _), (start, _) in zip(died, started[1:], strict=True)]
    assert failures[:2] == [1, 2], "the first death costs no wait"
    assert waits[1] > 0.95
    assert len(notes.all("ended")) == 1, "the last one was ended in an orderly way"


def test_a_process_that_was_ready_for_a_moment_is_replaced_as_others_are(
    notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was ready, and dead, between two looks of the supervisor: that is not a program that cannot start."""
    monkeypatch.setattr(supervisor, "LOOK", 1.0)
    notes.tell("brief")
    with running(tmp_path) as over:
        until(lambda: len(notes.all("ready")) == 2)
    assert over == [0]


def test_waits_double_and_have_an_end() -> None:
    waits = [wait_before(failures) for failures in range(12)]
    assert waits[:5] == [0, 0, 1, 3, 7]
    assert waits == sorted(waits) and waits[-1] == PATIENCE


def test_a_process_works_on_until_the_one_that_replaces_it_is_ready(notes: Notes, tmp_path: Path) -> None:
    with running(tmp_path, processes=2) as over:
        until(lambda: len(notes.all("ready")) == 2)
        notes.tell("slow")
        notes.tell("grow")
        until(lambda: notes.all("ended"))
        first = {pid for _, pid in notes.all("ready")[:2]}
        (gone, victim), (there, successor) = notes.all("ended")[0], notes.all("ready")[2]
        assert victim in first and successor not in first
        assert there < gone
    assert over == [0]
    assert len(notes.all("started")) == 3 and len(notes.all("ended")) == 3


def test_a_process_that_does_not_end_is_killed_when_its_time_is_over(
    notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "GRACE", 0.4)
    notes.tell("deaf")
    with running(tmp_path) as over:
        until(lambda: notes.all("ready"))
        began = time.monotonic()
    assert 0.7 <= time.monotonic() - began < 10
    assert over == [0] and notes.all("ended") == []


def test_processes_that_can_t_even_start_end_the_supervisor_with_a_failure(
    notes: Notes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notes.tell("broken")
    with running(tmp_path, processes=2) as over:
        until(lambda: over)
    assert over == [1]
    assert "it is not replaced" in caplog.text and "another one starts" not in caplog.text
