"""Rows in columns. On a terminal long cells fold; elsewhere nothing is cut, so that ``grep`` finds it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def print_table(console: Console, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table without lines. Cells are printed as they are; the caller makes names printable."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold", no_wrap=not console.is_terminal)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def print_facts(console: Console, facts: Iterable[tuple[str, str]], *, indent: int = 2) -> None:
    """Names and values below each other; a fact without a value is left out."""
    told = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in told), default=0)
    for name, value in told:
        console.print(f"{' ' * indent}{name:<{width}}  {value}", soft_wrap=True)
