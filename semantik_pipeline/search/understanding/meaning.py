"""Interprets a query: conditions for the filter, and the text that is left. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from semantik_pipeline.search.understanding.fields import (
    EITHER,
    FAMILIES,
    FIELDS,
    PATH,
    READ,
    Condition,
    condition_of,
    phrase,
    wanted,
)
from semantik_pipeline.search.understanding.syntax import Part, read

#: Where a phrase is looked for: in a chunk, its document's title, and the headings above it. BM25 indexes the same.
WHERE = ("text", "title", "section")

#: The maximum of phrases, exclusions and fields in one query; further ones are read as text. Each is checked for every
#: chunk.
MOST = 24


@dataclass(frozen=True, kw_only=True)
class FieldFilter:
    """A ``field:value`` of the query, or if ``excluded`` a ``-field:value``."""

    field: str
    value: str
    excluded: bool = False


@dataclass(frozen=True, kw_only=True)
class Interpretation:
    """An interpreted query.

    ``text`` is the text for the legs and the reranker, with the phrases; empty if there are only filters. ``must`` and
    ``must_not`` are the query's conditions on fields. ``read`` and ``not_read`` are its conditions on what a chunk
    contains, and ``said`` are the words that ``read`` requires. ``paths`` and ``not_paths`` are patterns that are not
    resolved yet. ``corrections`` maps misspelled words to their corrections.
    """

    text: str
    phrases: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    filters: tuple[FieldFilter, ...] = ()
    corrections: dict[str, str] = field(default_factory=dict)
    must: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()
    read: tuple[Condition, ...] = ()
    not_read: tuple[Condition, ...] = ()
    said: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the parts that the caller gets, as JSON values."""
        filters = [{"field": one.field, "value": one.value, "excluded": one.excluded} for one in self.filters]
        return {
            "text": self.text,
            "phrases": list(self.phrases),
            "excluded": list(self.excluded),
            "filters": filters,
            "corrections": dict(self.corrections),
        }


def meaning(query: str) -> Interpretation:
    """Interpret the query. Never raises: a field with an invalid value is read as text, with a warning."""
    parts, conditions, warnings = _checked(query)
    special = [part for part in parts if part.kind != "text"]
    if not special:
        return Interpretation(text=query.strip(), warnings=tuple(warnings))
    fields = [part for part in special if part.kind == "field"]
    phrases = tuple(dict.fromkeys(part.value for part in special if part.kind == "phrase" and not part.negated))
    excluded = tuple(dict.fromkeys(part.value for part in special if part.kind == "phrase" and part.negated))
    asked = [(part, conditions[at]) for at, part in enumerate(parts) if at in conditions]

    def of(*, negated: bool, read: bool) -> list[tuple[str, Condition]]:
        return [(p.name, c) for p, c in asked if p.negated == negated and (p.name in READ) == read]

    return Interpretation(
        text=" ".join(part.value for part in parts if part.kind != "field" and not part.negated),
        phrases=phrases,
        excluded=excluded,
        filters=tuple(FieldFilter(field=part.name, value=part.value, excluded=part.negated) for part in fields),
        must=tuple(_joined(of(negated=False, read=False))),
        must_not=tuple(condition for _, condition in of(negated=True, read=False)),
        read=(*(phrase(WHERE, one) for one in phrases), *_joined(of(negated=False, read=True))),
        not_read=(*(phrase(WHERE, one) for one in excluded), *(c for _, c in of(negated=True, read=True))),
        said=(*phrases, *(part.value for part, _ in asked if part.name in READ and not part.negated)),
        paths=tuple(part.value for part in fields if part.name == PATH and not part.negated),
        not_paths=tuple(part.value for part in fields if part.name == PATH and part.negated),
        warnings=tuple(warnings),
    )


def _checked(query: str) -> tuple[list[Part], dict[int, Condition], list[str]]:
    """Return the parts, invalid ones as text; the conditions of fields by place among the parts; and warnings."""
    parts: list[Part] = []
    conditions: dict[int, Condition] = {}
    warnings: list[str] = []
    special = 0
    for part in read(query, FIELDS, FAMILIES):
        if part.kind != "text" and special == MOST:
            warnings = [*warnings[: MOST - 1], f"only the first {MOST} phrases, exclusions and fields are used"]
            part = part.as_text()
        elif part.kind == "field" and part.name != PATH:
            made = condition_of(part.name, part.value)
            if made is None:
                warnings.append(f"{part.raw!r} was read as text: {part.name} takes {wanted(part.name)}")
                part = part.as_text()
            else:
                conditions[len(parts)] = made
        special += part.kind != "text"
        parts.append(part)
    return parts, conditions, list(dict.fromkeys(warnings))[:MOST]


def narrowed(
    filter: dict[str, Any] | None, interpretation: Interpretation, *, read: bool = True
) -> dict[str, Any] | None:
    """Return the filter with the query's conditions; without ``read``, not with those on what chunks contain."""
    must = [*interpretation.must, *(interpretation.read if read else ())]
    must_not = [*interpretation.must_not, *(interpretation.not_read if read else ())]
    if not must and not must_not:
        return filter
    both: dict[str, Any] = {"must": [*must, *([filter] if filter else [])], "must_not": must_not}
    return {name: conditions for name, conditions in both.items() if conditions}


def _joined(conditions: list[tuple[str, Condition]]) -> list[Condition]:
    """Return the conditions, those of a field in EITHER joined to alternatives."""
    by_field: dict[str, list[Condition]] = {}
    for name, condition in conditions:
        by_field.setdefault(name, []).append(condition)
    joined: list[Condition] = []
    for name, some in by_field.items():
        joined += [{"should": some}] if name in EITHER and len(some) > 1 else some
    return joined
