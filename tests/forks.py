"""The command line in processes that were forked from one that has imported already what nearly every command imports:
that spares each a second. What a process has is its own: arguments, environment, output, exit status."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "semantik_pipeline.cli.app",
        "semantik_pipeline.operations",
        "semantik_pipeline.plugins.administer",
        "semantik_pipeline.runtime",
        "semantik_pipeline.search",
        "workers.embedded",
        "alembic.command",
        "celery.apps.worker",
        "kombu.transport.memory",
        "rich.console",
        *(one.module for one in entry_points(group="semantik.plugins") if one.module.startswith("semantik_pipeline.")),
    ]
)


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Standard output as the one JSON object that it must be."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Running:
    """A command that goes on."""

    process: Any
    out: Path
    err: Path

    def lines(self) -> list[str]:
        """What it has written to standard output so far, in whole lines."""
        return self.out.read_text("utf-8", "replace").rpartition("\n")[0].splitlines()

    def ended(self, seconds: float) -> Result:
        """What it leaves behind. AssertionError if it does not end within so many seconds."""
        self.process.join(seconds)
        out, err = (path.read_text("utf-8", "replace") for path in (self.out, self.err))
        assert self.process.exitcode is not None, f"it did not end within {seconds:.0f} s\n{out[-2000:]}\n{err}"
        return Result(self.process.exitcode, out, err)


def semantik(arguments: Sequence[object], environment: Mapping[str, str], *, seconds: float = 120) -> Result:
    """``semantik`` with these arguments, to its end."""
    with begun(arguments, environment) as running:
        return running.ended(seconds)


@contextmanager
def begun(
    arguments: Sequence[object], environment: Mapping[str, str], *, terminal: str | None = None
) -> Iterator[Running]:
    """``semantik`` with these arguments, killed at the end of the block if it still runs. ``terminal`` is a device that is
    its standard output."""
    with tempfile.TemporaryDirectory(prefix="semantik-fork-") as folder:
        out, err = (Path(folder) / name for name in ("out", "err"))
        given = (list(map(str, arguments)), dict(environment), terminal or str(out), str(err))
        process = FORKS.Process(target=_forked, args=given)
        for path in (out, err):
            path.touch()
        process.start()
        try:
            yield Running(process, out, err)
        finally:
            if process.exitcode is None:
                process.kill()
            process.join()


def _forked(arguments: list[str], environment: dict[str, str], out: str, err: str) -> None:
    """The command in the forked process: everything a process has is set before anything runs."""
    from semantik_pipeline.cli import main

    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["semantik", *arguments]
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    main()
