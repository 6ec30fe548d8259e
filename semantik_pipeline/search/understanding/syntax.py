"""The syntax of queries: ``"a phrase"``, ``-word``, ``-"a phrase"``, ``field:value``, ``-field:value``. Pure.

Whatever is none of these is text, as it stands: nothing is an error here, and no field is known by its values.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

#: What opens a phrase, and what closes it.
QUOTES = {'"': '"', "“": "”", "„": "“"}

#: Characters between them, at most; what is longer is text.
LONGEST_PHRASE = 400

_SPACE = re.compile(r"\s*")
_PLAIN = re.compile(r"\S+")
#: A name, a colon, and something that makes it neither ``std::vector`` nor ``http://``.
_FIELD = re.compile(r"([A-Za-z][\w.-]*):(?=[^\s:/]|/[^\s/])")
#: What may be left out by a ``-`` before it: a word of two letters at least. ``-1`` is a number, ``-v`` an option.
_WORD = re.compile(r"[^\W\d_]{2}[^\s\"]*")
#: A run of letters and digits: what engines match.
_TOKEN = re.compile(r"[^\W_]")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a query. ``kind`` text: as it stands; phrase: a phrase, or (only ``negated``) a word; field: ``name``
    and ``value``. ``negated``: what must not be there. ``raw`` is how it was written."""

    kind: Literal["text", "phrase", "field"]
    value: str
    raw: str
    name: str = ""
    negated: bool = False

    def as_text(self) -> Part:
        """The same, taken for text."""
        return Part(kind="text", value=self.raw, raw=self.raw)


def read(query: str, fields: Collection[str], families: Collection[str] = ()) -> list[Part]:
    """The parts of a query, in order. A name is a field if it is among ``fields``, in whatever case, or if it begins with
    one of ``families``, which end in a dot. Never raises; takes time in proportion to the query's length.
    """
    parts: list[Part] = []
    at = 0
    while (at := _SPACE.match(query, at).end()) < len(query):  # type: ignore[union-attr]  # it matches nothing at all, too
        part, at = _part(query, at, fields, families)
        parts.append(part)
    return parts


def written(parts: Collection[Part]) -> str:
    """A query that reads as these parts."""
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
    """What stands in the quotes that open here, and where it ends; None for quotes that hold no word, or don't end."""
    closing = QUOTES.get(query[at : at + 1])
    if closing is None:
        return None
    end = query.find(closing, at + 1, at + 2 + LONGEST_PHRASE)
    if end < 0 or _TOKEN.search(query, at + 1, end) is None:
        return None
    return query[at + 1 : end].strip(), end + 1


def _plain(query: str, at: int) -> tuple[str, int]:
    found = _PLAIN.match(query, at)
    assert found is not None  # where no space is, something stands
    return found[0], found.end()


def _name(written: str, fields: Collection[str], families: Collection[str]) -> str | None:
    if written.lower() in fields:
        return written.lower()
    for family in families:
        if written.lower().startswith(family) and len(written) > len(family):
            return family + written[len(family) :]
    return None
