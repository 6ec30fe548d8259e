"""Ranked hits for people: what, where, and the passage with the query's words marked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.explanations import show_absent, show_explanation, show_facets
from semantik_pipeline.cli.output import text_width
from semantik_pipeline.cli.wording import one_line, place, printable

if TYPE_CHECKING:
    from rich.console import Console

    from semantik_pipeline.documents import SearchHit
    from semantik_pipeline.search import SearchAnswer

#: Lines of a passage.
LINES = 4

#: Words that say nothing about a passage; marking them would mark everything.
_FILLERS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "can",
        "did",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "how",
        "i",
        "if",
        "in",
        "is",
        "it",
        "its",
        "of",
        "on",
        "or",
        "that",
        "the",
        "this",
        "to",
        "was",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
    ]
)


def show_hits(console: Console, query: str, answer: SearchAnswer, note: str | None) -> None:
    """The hits, best first; then what a reader may want to know about the search itself."""
    from rich.text import Text

    marks = query_words(query)
    for hit in answer.hits:
        console.print(_headline(hit), soft_wrap=True)
        passage = Text(snippet(hit.text, marks, (text_width(console) - 4) * LINES))
        passage.highlight_regex(_pattern(marks), "bold yellow") if marks else None
        for line in passage.wrap(console, text_width(console) - 4):
            line.rstrip()
            console.print(Text("    ").append_text(line))
        if hit.explanation is not None:
            show_explanation(console, hit.explanation, hit.score)
        console.print()
    show_facets(console, answer.facets)
    if answer.absent is not None:
        show_absent(console, answer.absent)
    if note is not None:
        console.print(note, soft_wrap=True)
    for warning in answer.warnings:
        console.print(f"note: {printable(warning)}", style="yellow", soft_wrap=True)
    console.print(_footer(answer), style="dim", soft_wrap=True)


def _headline(hit: SearchHit) -> Any:
    from rich.text import Text

    line = Text(f"{hit.rank:>2}. ", style="bold")
    line.append(place(hit.document), style="bold cyan")
    where = [*_page(hit.metadata), *_section(hit)]
    if where:
        line.append(f"  {' · '.join(where)}", style="default")
    return line.append(f"  {hit.score:.3f}", style="dim")


def _page(metadata: dict[str, Any]) -> list[str]:
    page = metadata.get("page")
    return [f"page {page}"] if page is not None else []


def _section(hit: SearchHit) -> list[str]:
    """The title, then the headings above the passage; what repeats the title or the file's name is left out."""
    section = hit.metadata.get("section") or ()
    headings = [section] if isinstance(section, str) else [str(part) for part in section]
    parts = list(dict.fromkeys(one_line(part, 80) for part in (hit.title or "", *headings) if part.strip()))
    return [" > ".join(part for part in parts if not place(hit.document).endswith(part))] if parts else []


def _footer(answer: SearchAnswer) -> str:
    steps = {name: ms for name, ms in answer.timings_ms.items() if name != "total"}
    took = ", ".join(f"{name} {ms:.0f} ms" for name, ms in steps.items())
    total = answer.timings_ms.get("total", sum(steps.values()))
    found = "1 hit" if len(answer.hits) == 1 else f"{len(answer.hits)} hits"
    return f"{found}{', reranked' if answer.reranked else ''}, in {total:.0f} ms{f' ({took})' if took else ''}"


def query_words(query: str) -> list[str]:
    """The words of a query that are worth marking, in lower case, longest first."""
    words = {word.casefold() for word in re.findall(r"\w+", query)}
    return sorted(words - _FILLERS or words, key=lambda word: (-len(word), word))


def _pattern(words: list[str]) -> re.Pattern[str]:
    """Finds the words at the beginning of words, so that ``lease`` marks ``leases``."""
    return re.compile(rf"(?i)\b(?:{'|'.join(map(re.escape, words))})\w{{0,3}}\b")


def snippet(text: str, words: list[str], width: int) -> str:
    """At most ``width`` characters of the text on one line: from where most different query words come together."""
    line = printable(" ".join(text.split()))
    if len(line) <= width:
        return line
    room = width - 2  # for the ellipses
    start = min(_best_start(line, words, room), len(line) - room)
    start = line.rfind(" ", 0, start + 1) + 1 if start > 0 else 0
    end = start + room
    if end < len(line):
        end = max(line.rfind(" ", start + 1, end + 1), start + room // 2)
    return f"{'…' if start else ''}{line[start:end].strip()}{'…' if end < len(line) else ''}"


def _best_start(line: str, words: list[str], room: int) -> int:
    """Where a window of that many characters holds the most different words; a little before the first of them."""
    found = [(match.start(), match.group().casefold()) for match in _pattern(words).finditer(line)] if words else []
    best, most = 0, 0
    for place_, _ in found:
        here = {word[:4] for at, word in found if place_ <= at < place_ + room}
        if len(here) > most:
            best, most = place_, len(here)
    return 0 if best < room // 3 else best - room // 5
