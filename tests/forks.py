"""Runs the command line in processes forked from one that has already imported what most commands import.

This saves a second per command. Arguments, environment, output and exit status are the process's own.
"""

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
    """The output and exit code of a finished command."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Return standard output, which must be a single JSON object."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Running:
    """A running command."""

    process: Any
    out: Path
    err: Path

    def lines(self) -> list[str]:
        """Return the complete lines written to standard output so far."""
        return self.out.read_text("utf-8", "replace").rpartition("\n")[0].splitlines()

    def ended(self, seconds: float) -> Result:
        """Wait for its end and return the result. AssertionError if it does not end within ``seconds`` seconds."""
        self.process.join(seconds)
        out, err = (path.read_text("utf-8", "replace") for path in (self.out, self.err))
        assert self.process.exitcode is not None, f"it did not end within {seconds:.0f} s\n{out[-2000:]}\n{err}"
        return Result(self.process.exitcode, out, err)


def semantik(arguments: Sequence[object], environment: Mapping[str, str], *, seconds: float = 120) -> Result:
    """Run ``semantik`` with these arguments to its end."""
    with begun(arguments, environment) as running:
        return running.ended(seconds)


@contextmanager
def begun(
    arguments: Sequence[object], environment: Mapping[str, str], *, terminal: str | None = None
) -> Iterator[Running]:
    """Run ``semantik`` with these arguments during the block, and kill it at the end of the block if it still runs.

    ``terminal`` is a terminal device for its standard output.
    """
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
    """Run the command in the forked process, after setting output, environment, arguments and path."""
    from semantik_pipeline.cli import main

    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["semantik", *arguments]
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    main()
