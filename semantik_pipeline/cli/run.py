"""Runs the command line, from arguments to an exit code. Errors are printed as one or two lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from semantik_pipeline.cli.arguments import globals_first, wants_json
from semantik_pipeline.cli.failures import INTERRUPTED, FailureReport, describe, no_command
from semantik_pipeline.cli.output import Output


def run(argv: Sequence[str]) -> int:
    """Run the command and return its exit code. Writes to standard output and standard error; raises nothing."""
    output = Output(as_json=wants_json(argv))
    try:
        code = _command(argv, output)
        output.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:  # Typer raises SystemExit for a broken pipe
        output.abandon()
        return error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
    except Exception as error:
        failure = describe(error)
        if no_command(error) and not output.as_json:
            print(str(error), file=sys.stderr)
            return failure.exit_code
        return _failed(failure, output, verbose="--verbose" in argv)


def _command(argv: Sequence[str], output: Output) -> int:
    import typer.main

    from semantik_pipeline.cli.app import app
    from semantik_pipeline.cli.routing import narrowed

    args = globals_first(argv)
    command = typer.main.get_command(narrowed(app, args))
    code = command.main(args=args, prog_name="semantik", standalone_mode=False, obj=output)
    return code if isinstance(code, int) else 0


def _failed(failure: FailureReport, output: Output, *, verbose: bool) -> int:
    output.guard()
    try:
        if output.as_json:
            output.write_json({"error": failure.to_dict()})
        if verbose and failure.traceback:
            print(failure.traceback, file=sys.stderr, end="")
        for line in failure.lines(verbose=verbose):
            print(line, file=sys.stderr)
        output.flush()
    except BrokenPipeError:
        output.abandon()
    return failure.exit_code
