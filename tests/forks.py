"""The command line in processes that were forked from one that has imported already what nearly every command imports:
that spares each a second. What a process has is its own: arguments, environment, output, exit status."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
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


def semantik(arguments: Sequence[object], environment: Mapping[str, str], *, seconds: float = 120) -> Result:
    """``semantik`` with these arguments, to its end."""
    with tempfile.TemporaryDirectory(prefix="semantik-fork-") as folder:
        out, err = (Path(folder) / name for name in ("out", "err"))
        process = FORKS.Process(target=_forked, args=(list(map(str, arguments)), dict(environment), str(out), str(err)))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise AssertionError(f"{arguments} did not end within {seconds:.0f} s\n{err.read_text('utf-8', 'replace')}")
        return Result(process.exitcode, out.read_text("utf-8", "replace"), err.read_text("utf-8", "replace"))


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
