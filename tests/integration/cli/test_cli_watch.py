"""``--watch``: it looks again and again, for people on a terminal and, under ``--json``, as an object for each line."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

#: What a terminal is told at the beginning of each look: to clear itself.
CLEAR = "\x1b[2J"


class Terminal:
    """A terminal on which somebody looks at a command. ``device`` is its name."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        self._theirs = theirs
        self.device = os.ttyname(theirs)
        self._shown = b""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while data := os.read(self._ours, 65536):
                self._shown += data
        except OSError:
            return  # it was closed

    def looks(self) -> list[str]:
        """What was shown so far: an entry for each time that it was cleared, with the words and nothing else."""
        shown = self._shown.decode("utf-8", "replace").split(CLEAR)
        return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", one) for one in shown[1:]]

    def close(self) -> None:
        os.close(self._theirs)
        os.close(self._ours)


@contextmanager
def terminal() -> Iterator[Terminal]:
    one = Terminal()
    try:
        yield one
    finally:
        one.close()


def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def sources(answer: dict[str, Any]) -> int:
    return sum(answer["sources"].values())


def listed(answer: dict[str, Any]) -> int:
    return len(answer["operations"])


def test_what_changes_between_two_looks_is_shown(cli, tmp_path: Path) -> None:
    """`fleet status` and `operations list` beside a command that indexes one more folder."""

    def index(name: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "note.txt").write_text(f"a text of {name}")
        done = cli("index", folder, "--json")
        assert done.code == 0, done.err

    index("first")
    commands = {("fleet", "status"): sources, ("operations", "list"): listed}
    with ExitStack() as stack:
        screens = [stack.enter_context(terminal()) for _ in commands]
        told_to = [stack.enter_context(cli.begun(*command, "--watch", "--json")) for command in commands]
        shown_to = [
            stack.enter_context(cli.begun(*command, "--watch", terminal=screen.device))
            for command, screen in zip(commands, screens, strict=True)
        ]
        at_first: dict[int, int] = {}  # lines of each when there were some

        def all_looked() -> bool:
            for place, one in enumerate(told_to):
                if lines := len(one.lines()):
                    at_first.setdefault(place, lines)
            return len(at_first) == len(told_to) and all(one.looks() for one in screens)

        until(all_looked)
        assert max(at_first.values()) <= 3, "a line is written as soon as there is something to say"
        index("second")
        for count, one in zip(commands.values(), told_to, strict=True):
            until(lambda one=one, count=count: count(json.loads(one.lines()[-1])) == 2)
        until(lambda: "sync-2" in screens[1].looks()[-1] and len(screens[0].looks()) > 1)
        for one in (*told_to, *shown_to):
            assert one.process.is_alive(), "it goes on until it is interrupted"
            os.kill(one.process.pid, signal.SIGINT)
        ends = [one.ended(10) for one in (*told_to, *shown_to)]
    assert [(one.code, "Traceback" in one.err) for one in ends] == [(130, False)] * 4
    for count, end in zip(commands.values(), ends, strict=False):
        answers = [json.loads(line) for line in end.out.splitlines()]
        assert count(answers[0]) == 1
        assert len({tuple(answer) for answer in answers}) == 1, "each line is the same kind of object"
    assert "sync-1" in screens[1].looks()[0] and "sync-2" not in screens[1].looks()[0]
    for screen in screens:
        assert len({one.split()[0] for one in screen.looks() if one.strip()}) == 1, (
            "each look begins with its first line"
        )


def test_an_operation_is_watched_to_its_end(cli, papers: Path) -> None:
    """The exit code is that of its outcome: a file that can't be read makes it degraded."""
    for number in range(8):
        (papers / f"{number}.txt").write_text(f"text number {number}")
    state = cli.data / "plugins.json"
    state.parent.mkdir()
    state.write_text('{"version": 1, "disabled_ids": [], "configs": {"fake-embedder": {"sleep_ms_per_text": 300}}}')
    with ExitStack() as stack:
        screen = stack.enter_context(terminal())
        indexing = stack.enter_context(cli.begun("index", papers))
        until(lambda: cli("operations", "show", "sync-1").code == 0)  # it is there, and has not ended
        watching = stack.enter_context(cli.begun("operations", "show", "sync-1", "--watch", "--json"))
        looking = stack.enter_context(cli.begun("operations", "show", "sync-1", "--watch", terminal=screen.device))
        told, shown = watching.ended(60), looking.ended(60)
        assert indexing.ended(30).code == 3
        answers = [json.loads(line) for line in told.out.splitlines()]
        assert len(answers) >= 2
        assert [one["state"] for one in answers] == ["running"] * (len(answers) - 1) + ["finished"]
        assert answers[0]["progress"]["stages"] != answers[-1]["progress"]["stages"]
        assert answers[-1]["outcome"] == "degraded"
        assert (told.code, shown.code) == (3, 3)
        until(lambda: "degraded" in screen.looks()[-1])
        assert "running" in screen.looks()[0] and len(screen.looks()) >= 2
