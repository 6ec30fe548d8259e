"""What ``--help`` shows of every command, in a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer

from semantik_pipeline.cli.app import app

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
