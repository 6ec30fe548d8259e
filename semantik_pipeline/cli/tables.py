"""Rows in columns. Where there is no terminal nothing is left out or cut, so ``grep`` finds whole lines. A terminal that
is too narrow for all of it gets the columns that matter most, unless the caller says of none that it may go: then the last
column runs on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: Between columns.
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
    """A header and rows. Cells are printed as they are; the caller makes them printable.

    Where they are wider than the console, ``shrink`` are columns that may be cut, each to that many characters at least,
    and ``spare`` those that are left out, the first first, until the rest fits. A cell is cut at its end; one of the
    columns ``ends`` at its start, since the end of a path says most.
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
    """The columns to show, each with its width. Pure."""
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
    """In cells of a terminal, where a character of Chinese or a picture takes two."""
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
    """Names and values below each other; a fact without a value is left out."""
    told = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in told), default=0)
    for name, value in told:
        console.print(f"{' ' * indent}{name:<{width}}  {value}", soft_wrap=True)
