"""Prints rows in columns.

If the output is not a terminal, nothing is left out or cut, so that ``grep`` finds whole lines. On a terminal that is
too narrow, columns are cut or left out as the caller allows. If the caller allows none, the lines run on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: Separator of columns.
GAP = "  "


def print_table(
    console: Console,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    spare: Sequence[str] = (),
    shrink: Mapping[str, int] | None = None,
    ends: Collection[str] = (),
) -> None:
    """Print a header and rows. Cells are printed as they are; the caller escapes control characters.

    If the table is wider than the console, the columns in ``spare`` are left out, in that order, until the rest fits,
    and the columns in ``shrink`` are cut, each to at least the given number of characters. Cells are cut at the end.
    Cells of the columns ``ends`` are cut at the start, since the end of a path is its most informative part.
    """
    lines = [list(header), *map(list, rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(header))]
    kept = fitting(header, widths, console.width, spare=spare, shrink=shrink or {})
    for number, line in enumerate(lines):
        cells = [_padded(line[column], width, from_end=header[column] in ends) for column, width in kept.items()]
        console.print(GAP.join(cells).rstrip(), style="bold" if number == 0 else None, soft_wrap=True)


def fitting(
    header: Sequence[str], widths: Sequence[int], room: int, *, spare: Sequence[str], shrink: Mapping[str, int]
) -> dict[int, int]:
    """Return the columns to show, each with its width. A pure function."""
    kept = dict(enumerate(widths))
    least = {at: min(widths[at], shrink.get(name, widths[at])) for at, name in enumerate(header)}
    for name in spare:
        if _total([least[at] for at in kept]) <= room:
            break
        del kept[header.index(name)]
    for at in [header.index(name) for name in shrink if header.index(name) in kept]:
        excess = _total(list(kept.values())) - room
        kept[at] -= min(max(excess, 0), kept[at] - least[at])
    return kept


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _width(text: str) -> int:
    """Return the width in terminal cells. Chinese characters and emoji take two cells."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _padded(text: str, width: int, *, from_end: bool) -> str:
    if _width(text) > width:
        from rich.cells import set_cell_size

        if from_end:
            left = set_cell_size(text[::-1], width - 1)[::-1].lstrip()
            return f"…{left}" + " " * (width - 1 - _width(left))
        return set_cell_size(text, width - 1).rstrip() + "…"
    return text + " " * (width - _width(text))


def print_facts(console: Console, facts: Iterable[tuple[str, str]], *, indent: int = 2) -> None:
    """Print names and values, one pair per line. Pairs with an empty value are left out."""
    told = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in told), default=0)
    for name, value in told:
        console.print(f"{' ' * indent}{name:<{width}}  {value}", soft_wrap=True)
