"""Rows in columns. Nothing is cut: the last column runs on, and where there is no terminal ``grep`` finds whole lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def print_table(console: Console, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A header and rows, two spaces between columns. Cells are printed as they are; the caller makes them printable."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for number, line in enumerate(lines):
        padded = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        console.print(padded, style="bold" if number == 0 else None, soft_wrap=True)


def print_facts(console: Console, facts: Iterable[tuple[str, str]], *, indent: int = 2) -> None:
    """Names and values below each other; a fact without a value is left out."""
    told = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in told), default=0)
    for name, value in told:
        console.print(f"{' ' * indent}{name:<{width}}  {value}", soft_wrap=True)
