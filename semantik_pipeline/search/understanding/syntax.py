"""The syntax of queries: ``"a phrase"``, ``-word``, ``-"a phrase"``, ``field:value``, ``-field:value``. Pure.

Everything else is text. Nothing is an error here, and the values of fields are not checked.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

#: Opening quotes of a phrase -> closing quotes.
QUOTES = {'"': '"', "“": "”", "„": "“"}

#: The maximum of characters between the quotes; anything longer is text.
LONGEST_PHRASE = 400

_SPACE = re.compile(r"\s*")
_PLAIN = re.compile(r"\S+")
#: A name and a colon. What follows rules out ``std::vector`` and ``http://``.
_FIELD = re.compile(r"([A-Za-z][\w.-]*):(?=[^\s:/]|/[^\s/])")
#: A word that a ``-`` before it excludes: it starts with two letters, because ``-1`` is a number and ``-v`` an option.
_WORD = re.compile(r"[^\W\d_]{2}[^\s\"]*")
#: A letter or digit. Engines match only those.
_TOKEN = re.compile(r"[^\W_]")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a query, written as ``raw``.

    Its ``kind`` is ``text``, ``phrase`` (a phrase, or if ``negated`` also a word) or ``field`` (``name`` and
    ``value``). ``negated``: a hit must not have it.
    """

    kind: Literal["text", "phrase", "field"]
    value: str
    raw: str
    name: str = ""
    negated: bool = False

    def as_text(self) -> Part:
        """Return the part as text."""
        return Part(kind="text", value=self.raw, raw=self.raw)


def read(query: str, fields: Collection[str], families: Collection[str] = ()) -> list[Part]:
    """Return the parts of a query, in order.

    A name is a field if it is among ``fields``, in any case, or starts with one of the ``families``, which end in a
    dot. Never raises. Takes time proportional to the query's length.
    """
    parts: list[Part] = []
    at = 0
    # The pattern always matches, if only the empty string.
    while (at := _SPACE.match(query, at).end()) < len(query):  # type: ignore[union-attr]
        part, at = _part(query, at, fields, families)
        parts.append(part)
    return parts


def written(parts: Collection[Part]) -> str:
    """Return a query that consists of these parts."""
    return " ".join(part.raw for part in parts)


def _part(query: str, at: int, fields: Collection[str], families: Collection[str]) -> tuple[Part, int]:
    negated = query[at] == "-"
    inner = at + negated
    quoted = _quoted(query, inner)
    if quoted is not None:
        value, end = quoted
        return Part(kind="phrase", value=value, raw=query[at:end], negated=negated), end
    field = _FIELD.match(query, inner)
    if field is not None and (name := _name(field[1], fields, families)) is not None:
        value, end = _quoted(query, field.end()) or _plain(query, field.end())
        return Part(kind="field", name=name, value=value, raw=query[at:end], negated=negated), end
    if negated and (word := _WORD.match(query, inner)) is not None:
        return Part(kind="phrase", value=word[0], raw=query[at : word.end()], negated=True), word.end()
    value, end = _plain(query, at)
    return Part(kind="text", value=value, raw=value), end


def _quoted(query: str, at: int) -> tuple[str, int] | None:
    """Return the text in the quotes that open at ``at``, and their end; None if they contain no word or don't close."""
    closing = QUOTES.get(query[at : at + 1])
    if closing is None:
        return None
    end = query.find(closing, at + 1, at + 2 + LONGEST_PHRASE)
    if end < 0 or _TOKEN.search(query, at + 1, end) is None:
        return None
    return query[at + 1 : end].strip(), end + 1


def _plain(query: str, at: int) -> tuple[str, int]:
    found = _PLAIN.match(query, at)
    assert found is not None  # there is no space at this position
    return found[0], found.end()


def _name(written: str, fields: Collection[str], families: Collection[str]) -> str | None:
    if written.lower() in fields:
        return written.lower()
    for family in families:
        if written.lower().startswith(family) and len(written) > len(family):
            return family + written[len(family) :]
    return None
