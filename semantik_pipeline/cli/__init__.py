"""The command line: each command reads its arguments, calls one function, and shows what came of it.

Nothing but Typer is imported until a command runs, so that ``semantik --help`` answers at once.
"""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> None:
    """Run one command and end the process with its exit code: 0 done, 1 failed, 2 usage, 3 done but degraded."""
    from semantik_pipeline.cli.run import run

    sys.exit(run(sys.argv[1:] if argv is None else argv))
