"""Checks a postprocessor's answer before it is used: it may return only the hits that it was given, unchanged except
for permitted additions, and only what JSON can represent. Pure."""

from __future__ import annotations

import json
import marshal
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from semantik_pipeline.documents import Highlight, Passage, SearchHit, Span
from semantik_pipeline.errors import PluginError

#: Fields that no postprocessor may change: they identify the passage and explain the score.
FIXED = ("document", "title", "text", "start", "end", "scores", "explanation")
#: Fields that are objects. Their contents are not checked if they equal what the plugin was given.
OBJECTS = ("metadata", "scores", "explanation")
#: Fields that postprocessors add to, which are lists.
LISTS = ("highlights", "grouped_hits", "context_before", "context_after", "duplicates")
#: The maximum nesting of objects and lists in a hit's fields. The API can write about 200 levels.
MOST_LEVELS = 64

#: Rank of a hit -> the passages around it that the context returned.
Given = Mapping[int, Sequence[Passage]]


def lent(hits: Sequence[SearchHit]) -> list[SearchHit]:
    """Copy the hits for a plugin, so that its changes to their lists and objects, possibly long after its deadline, do
    not reach the search's hits."""
    return [_lent(hit) for hit in hits]


def _lent(hit: SearchHit) -> SearchHit:
    own = object.__new__(SearchHit)  # dataclasses.replace is ten times slower, and there may be hundreds
    vars(own).update(
        vars(hit),
        metadata=_copied(hit.metadata),
        scores=dict(hit.scores),
        explanation=_copied(hit.explanation),
        grouped_hits=lent(hit.grouped_hits),
        **{name: list(getattr(hit, name)) for name in LISTS if name != "grouped_hits"},
    )
    return own


def _copied(value: Any) -> Any:
    """Return a JSON value with copies of all its objects and lists."""
    if type(value) is dict:
        return {name: _copied(one) if type(one) in (dict, list) else one for name, one in value.items()}
    if type(value) is list:
        return [_copied(one) if type(one) in (dict, list) else one for one in value]
    return value


def checked(
    answer: Any, before: Sequence[SearchHit], around: Given, *, every: Mapping[int, SearchHit], annotates: bool = False
) -> list[SearchHit]:
    """Return the answer as a list if it consists of hits of ``before``, each at most once. Raises PluginError, which
    names the fault, if it does not.

    ``grouped_hits`` may contain hits of ``before`` and those that an earlier plugin grouped there. ``around`` has the
    passages that may be added. ``every`` has all hits at the start of the chain by rank: duplicates may name their
    documents. With ``annotates``, the answer must have all hits in their order.
    """
    if not isinstance(answer, list | tuple):
        raise PluginError(f"returned a {type(answer).__name__} instead of a list of hits")
    given = {hit.rank: hit for hit in before}
    joined = given | {one.rank: one for hit in before for one in hit.grouped_hits}
    documents = {hit.document for hit in every.values()}
    seen: set[int] = set()
    for hit in answer:
        _check_known(hit, given, seen)
    for one in (one for hit in answer for one in hit.grouped_hits):
        _check_known(one, joined, seen)
        if one.grouped_hits:
            raise PluginError("grouped hits under one that is itself grouped under another")
    for one in (one for hit in answer for one in (hit, *hit.grouped_hits)):
        _check_additions(one, around.get(one.rank, ()), documents)
    if annotates and [hit.rank for hit in answer] != [hit.rank for hit in before]:
        raise PluginError("left out or moved hits, although it declares that it only adds to them (ANNOTATES)")
    return list(answer)


def _check_known(hit: Any, given: Mapping[int, SearchHit], seen: set[int]) -> None:
    if not isinstance(hit, SearchHit):
        raise PluginError(f"returned a {type(hit).__name__} among the hits")
    if type(hit.rank) is not int or hit.rank not in given:
        raise PluginError("returned a hit that it was not given")
    if hit.rank in seen:
        raise PluginError("returned a hit twice")
    seen.add(hit.rank)
    for name in FIXED:
        found, was = getattr(hit, name), getattr(given[hit.rank], name)
        if found is not was and (type(found) is not type(was) or found != was):
            raise PluginError(f"changed the {name} of a hit")
    if not isinstance(hit.score, int | float) or isinstance(hit.score, bool) or not math.isfinite(hit.score):
        raise PluginError("gave a hit a score that is not a finite number")
    if not isinstance(hit.metadata, dict):
        raise PluginError("gave a hit metadata that is not an object")
    for name in OBJECTS:
        _check_writable(name, getattr(hit, name), getattr(given[hit.rank], name))
    for name in LISTS:
        if not isinstance(getattr(hit, name), list | tuple):
            raise PluginError(f"gave a hit {name} that are not a list")


def _check_writable(name: str, found: Any, was: Any) -> None:
    """Raise PluginError if JSON can't represent the value, unless it is a copy of ``was``.

    Equality with ``was`` would not be enough: a NumPy number equals a Python number, but JSON can't represent it.
    """
    if _is_copy(found, was):
        return
    if not _named_by_texts(found, MOST_LEVELS):
        raise PluginError(f"gave a hit {name} with a name that is not a string, or with too many levels")
    try:
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise PluginError(f"gave a hit {name} that JSON can't represent ({error})") from error


def _is_copy(found: Any, was: Any) -> bool:
    """Return whether it is ``was``, or a copy as :func:`lent` makes it.

    Compares their encodings, in a format that is the same for equal values. That takes a fifth of the time of a
    comparison value by value.
    """
    try:
        return found is was or marshal.dumps(found, 2) == marshal.dumps(was, 2)
    except ValueError:  # a value that is not plain, such as a set
        return False


def _named_by_texts(value: Any, levels: int) -> bool:
    """Return whether all names in the value are strings, and it has at most ``levels`` levels of objects and lists."""
    if isinstance(value, dict):
        return levels > 0 and all(
            isinstance(name, str) and _named_by_texts(one, levels - 1) for name, one in value.items()
        )
    return not isinstance(value, list | tuple) or (
        levels > 0 and all(_named_by_texts(one, levels - 1) for one in value)
    )


def _check_additions(hit: SearchHit, around: Sequence[Passage], documents: Collection[str]) -> None:
    for span in _spans(hit):
        if type(span.start) is not int or type(span.end) is not int:
            raise PluginError("marked a place in a hit's text with a number that is not an integer")
        if not 0 <= span.start <= span.end <= len(hit.text):
            raise PluginError("marked a place outside a hit's text")
    for passage in (*hit.context_before, *hit.context_after):
        if not isinstance(passage, Passage) or not any(_is_part(passage, whole) for whole in around):
            raise PluginError("added a passage to a hit that the context did not return for it")
    if not all(name in documents for name in hit.duplicates):
        raise PluginError("named a duplicate of a hit in a document that is not among the hits")


def _spans(hit: SearchHit) -> Iterator[Span]:
    for one in hit.highlights:
        if not isinstance(one, Highlight) or not _is_text(one.term):
            raise PluginError("gave a hit a highlight that is not a Highlight")
        yield one
    if hit.passage is not None:
        if not isinstance(hit.passage, Span):
            raise PluginError("gave a hit a passage that is not a Span")
        yield hit.passage


def _is_text(value: Any) -> bool:
    """Return whether the value is a string without lone surrogates."""
    return isinstance(value, str) and value.encode("utf-8", "ignore").decode() == value


def _is_part(passage: Passage, whole: Passage) -> bool:
    if passage is whole:
        return True
    if any(type(one) is not int for one in (passage.start, passage.end, passage.ordinal)):
        return False
    start, end = passage.start - whole.start, passage.end - whole.start
    inside = 0 <= start <= end <= whole.end - whole.start
    same = passage.ordinal == whole.ordinal and passage.section == whole.section
    return same and inside and whole.text[start:end] == passage.text
