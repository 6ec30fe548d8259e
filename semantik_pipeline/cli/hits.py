"""Text output for ranked hits: the document, the place in it, and the passage with the query's words marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.explanations import show_document_explanation, show_explanation, show_facets
from semantik_pipeline.cli.output import text_width
from semantik_pipeline.cli.wording import one_line, place, printable
from semantik_pipeline.documents import Passage, SearchHit, Span

if TYPE_CHECKING:
    from rich.console import Console

    from semantik_pipeline.search import SearchAnswer

#: Maximum number of lines of a hit's passage, and of each further passage of the same document.
LINES, LINES_OF_MORE = 4, 2

#: Maximum number of documents with the same text that are named.
NAMED = 3


def show_hits(console: Console, answer: SearchAnswer, note: str | None) -> None:
    """Print the hits, best first, then facets and notes about the search."""
    show_corrections(console, answer)
    for hit in answer.hits:
        console.print(_headline(hit), soft_wrap=True)
        _show_beside(console, hit.context_before, from_end=True)
        _show_text(console, *snippet(hit, (text_width(console) - 4) * LINES))
        _show_beside(console, hit.context_after, from_end=False)
        for one in hit.grouped_hits:
            console.print(_headline_of_more(one), soft_wrap=True)
            _show_text(console, *snippet(one, (text_width(console) - 8) * LINES_OF_MORE), indent=8)
        if hit.duplicates:
            console.print(f"    same text in {_documents(hit.duplicates)}", style="dim", soft_wrap=True)
        if hit.explanation is not None:
            show_explanation(console, hit.explanation, hit.score)
        console.print()
    show_facets(console, answer.facets)
    if answer.document_explanation is not None:
        show_document_explanation(console, answer.document_explanation)
    if note is not None:
        console.print(note, soft_wrap=True)
    for warning in answer.warnings:
        console.print(f"note: {printable(warning)}", style="yellow", soft_wrap=True)
    console.print(_footer(answer), style="dim", soft_wrap=True)


def show_corrections(console: Console, answer: SearchAnswer) -> None:
    """Print the words that were also searched for, in place of words that no document contains."""
    for typed, meant in (answer.interpretation or {}).get("corrections", {}).items():
        console.print(f"No document has {printable(typed)!r}; also searched for {printable(meant)!r}.", style="yellow")


def _headline(hit: SearchHit) -> Any:
    from rich.text import Text

    line = Text(f"{hit.rank:>2}. ", style="bold")
    line.append(place(hit.document), style="bold cyan")
    where = [*_page(hit.metadata), *_section(hit)]
    if where:
        line.append(f"  {' · '.join(where)}", style="default")
    return line.append(f"  {hit.score:.3f}", style="dim")


def _headline_of_more(hit: SearchHit) -> Any:
    """Return the headline of a further passage of the same document: its place, without the document's name."""
    from rich.text import Text

    where = " · ".join([*_page(hit.metadata), *_section(hit)]) or f"from character {hit.start:,}"
    return Text("    + ", style="bold").append(where, style="default").append(f"  {hit.score:.3f}", style="dim")


def _show_text(console: Console, line: str, marks: Sequence[Span], *, indent: int = 4) -> None:
    """Print a line of text, wrapped, with its marks in bold."""
    from rich.text import Text

    text = Text(line)
    for mark in marks:
        text.stylize("bold yellow", mark.start, mark.end)
    for row in text.wrap(console, text_width(console) - indent):
        row.rstrip()
        console.print(Text(" " * indent).append_text(row))


def _show_beside(console: Console, passages: Sequence[Passage], *, from_end: bool) -> None:
    """Print the passages before or after a hit, dimmed.

    At most as many lines as for the hit are shown: those next to the hit. ``from_end`` is for passages before the hit.
    """
    if not passages:
        return
    from rich.text import Text

    width = text_width(console) - 4
    line = one_line(" ".join(one.text for one in passages), 1_000_000)
    room = width * LINES - 2
    if len(line) > room:
        line = f"…{line[-room:]}" if from_end else f"{line[:room]}…"
    for row in Text(line, style="dim").wrap(console, width):
        row.rstrip()
        console.print(Text("    ").append_text(row))


def _documents(names: Sequence[str]) -> str:
    """Return the names of the first ``NAMED`` documents, and the number of the others."""
    told = ", ".join(place(name) for name in names[:NAMED])
    return told if len(names) <= NAMED else f"{told} and {len(names) - NAMED} more"


def _page(metadata: dict[str, Any]) -> list[str]:
    page = metadata.get("page")
    return [f"page {page}"] if page is not None else []


def _section(hit: SearchHit) -> list[str]:
    """Return the title and the headings above the passage, without repetitions of each other or of the file's name."""
    section = hit.metadata.get("section") or ()
    headings = [section] if isinstance(section, str) else [str(part) for part in section]
    parts = list(dict.fromkeys(one_line(part, 80) for part in (hit.title or "", *headings) if part.strip()))
    told = " > ".join(part for part in parts if not place(hit.document).endswith(part))
    return [told] if told else []


def _footer(answer: SearchAnswer) -> str:
    steps = {name: ms for name, ms in answer.timings_ms.items() if name != "total"}
    took = ", ".join(f"{name} {ms:.0f} ms" for name, ms in steps.items())
    total = answer.timings_ms.get("total", sum(steps.values()))
    found = "1 hit" if len(answer.hits) == 1 else f"{len(answer.hits)} hits"
    return f"{found}{', reranked' if answer.reranked else ''}, in {total:.0f} ms{f' ({took})' if took else ''}"


def snippet(hit: SearchHit, width: int) -> tuple[str, list[Span]]:
    """Return at most ``width`` characters of the hit on one line, and the spans in that line that match the query.

    The line starts where the hit's best passage begins.
    """
    line, places = _on_one_line(hit.text)
    marks = [Span(places[one.start], places[one.end]) for one in hit.highlights]
    if len(line) <= width:
        return line, marks
    room = width - 2  # for the ellipses
    start = min(places[hit.passage.start] if hit.passage is not None else 0, len(line) - room)
    start = line.rfind(" ", 0, start + 1) + 1 if start > 0 else 0
    end = start + room
    if end < len(line):
        end = max(line.rfind(" ", start + 1, end + 1), start + room // 2)
    before, after = "…" if start else "", "…" if end < len(line) else ""
    shift = len(before) - start
    seen = [Span(one.start + shift, one.end + shift) for one in marks if start <= one.start and one.end <= end]
    return f"{before}{line[start:end].rstrip()}{after}", seen


def _on_one_line(text: str) -> tuple[str, list[int]]:
    """Collapse white space and escape control characters.

    Returns the line, and for each character of ``text`` (and for its end) the offset in the line.
    """
    line: list[str] = []
    places: list[int] = []
    length = 0
    for character in text:
        places.append(length)
        shown = printable(character) if not character.isspace() else " " if line and line[-1] != " " else ""
        if shown:
            line.append(shown)
            length += len(shown)
    return "".join(line), [*places, length]
