"""What ``--help`` shows of every command, in a terminal of 80 columns."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import typer

from semantik_pipeline import __version__
from semantik_pipeline.cli.app import app
from semantik_pipeline.cli.failures import describe
from semantik_pipeline.cli.run import run

COLUMNS = 80


def every_command(context: typer.Context) -> Iterator[typer.Context]:
    """A context for this command and each one under it."""
    yield context
    for name, command in getattr(context.command, "commands", {}).items():
        yield from every_command(typer.Context(command, info_name=name, parent=context, terminal_width=COLUMNS))


def contexts() -> list[typer.Context]:
    command = typer.main.get_command(app)
    return list(every_command(typer.Context(command, info_name="semantik", terminal_width=COLUMNS)))


CONTEXTS = contexts()
GROUPS = [context for context in CONTEXTS if hasattr(context.command, "commands")]


@pytest.mark.parametrize("context", GROUPS, ids=lambda context: context.command_path)
def test_no_summary_of_a_command_is_cut(context):
    text = context.command.get_help(context)
    assert [line for line in text.splitlines() if line.rstrip().endswith("...") and "Usage" not in line] == []


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: context.command_path)
def test_no_bracket_of_a_usage_line_is_doubled(context):
    assert "[[" not in context.command.get_usage(context)


@pytest.mark.parametrize("command", [[], ["documents"]])
def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert run(command) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("Usage: semantik")
    assert "\\n" not in shown.err and len(shown.err.splitlines()) > 10
    with pytest.raises(Exception) as raised:  # of Typer's own, without a public name
        typer.main.get_command(app).main(args=command, prog_name="semantik", standalone_mode=False)
    assert describe(raised.value).message == "No command is given."  # for programs


def test_the_version_is_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"semantik {__version__}\n"
    assert run(["--json", "--version"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": __version__}
