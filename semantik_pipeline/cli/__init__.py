"""The command line. Each command reads its arguments, calls one function, and prints the result.

Only Typer is imported before a command runs, so that ``semantik --help`` is fast.
"""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> None:
    """Run one command and exit the process with its code: 0 done, 1 failed, 2 wrong usage, 3 done but degraded."""
    from semantik_pipeline.cli.run import run

    sys.exit(run(sys.argv[1:] if argv is None else argv))
