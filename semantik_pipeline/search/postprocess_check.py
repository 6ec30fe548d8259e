"""What a postprocessor answers is checked before anybody sees it: hits that were given, as they were given. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from semantik_pipeline.documents import Highlight, Passage, SearchHit, Span
from semantik_pipeline.errors import PluginError

#: What no postprocessor may change: it says which passage of which document a hit is.
FIXED = ("document", "title", "text", "start", "end")

#: Rank of a hit -> the passages around it that the context gave.
Given = Mapping[int, Sequence[Passage]]


def checked(
    answer: Any, before: Sequence[SearchHit], around: Given, *, every: Mapping[int, SearchHit], annotates: bool = False
) -> list[SearchHit]:
    """The answer, if it is hits of ``before``, each at most once; raise PluginError saying what else it is.

    ``every`` has by its rank each hit that the chain began with: ``grouped_hits`` may hold those that an earlier
    plugin put there. With ``annotates`` they are all there, in their order.
    """
    if not isinstance(answer, list | tuple):
        raise PluginError(f"answered a {type(answer).__name__} instead of a list of hits")
    known = {hit.rank for hit in before}
    inside = {one.rank for hit in before for one in hit.grouped_hits}
    documents = {hit.document for hit in every.values()}
    seen: set[int] = set()
    for hit in answer:
        _check_known(hit, known, every, seen)
    for one in (one for hit in answer for one in hit.grouped_hits):
        _check_known(one, known | inside, every, seen)
    for one in (one for hit in answer for one in (hit, *hit.grouped_hits)):
        _check_additions(one, around.get(one.rank, ()), documents)
    if annotates and [hit.rank for hit in answer] != [hit.rank for hit in before]:
        raise PluginError("left out or moved hits, though it says that it only adds to them (ANNOTATES)")
    return list(answer)


def _check_known(hit: Any, known: set[int], every: Mapping[int, SearchHit], seen: set[int]) -> None:
    if not isinstance(hit, SearchHit):
        raise PluginError(f"answered a {type(hit).__name__} among the hits")
    if hit.rank not in known:
        raise PluginError("answered a hit that it was not given")
    if hit.rank in seen:
        raise PluginError("answered a hit twice")
    seen.add(hit.rank)
    given = every[hit.rank]
    for name in FIXED:
        found, was = getattr(hit, name), getattr(given, name)
        if found is not was and found != was:
            raise PluginError(f"changed the {name} of a hit")
    if not isinstance(hit.score, int | float) or isinstance(hit.score, bool) or not math.isfinite(hit.score):
        raise PluginError("gave a hit a score that is no finite number")
    if not isinstance(hit.metadata, dict):
        raise PluginError("gave a hit metadata that is no object")


def _check_additions(hit: SearchHit, around: Sequence[Passage], documents: Collection[str]) -> None:
    for span in _spans(hit):
        if not 0 <= span.start <= span.end <= len(hit.text):
            raise PluginError("marked what lies outside a hit's text")
    for passage in (*hit.context_before, *hit.context_after):
        if not isinstance(passage, Passage) or not any(_is_part(passage, whole) for whole in around):
            raise PluginError("put a passage beside a hit that the context did not give for it")
    if not all(name in documents for name in hit.duplicates):
        raise PluginError("said of a hit that its like is in a document that is not among the hits")


def _spans(hit: SearchHit) -> Iterator[Span]:
    for one in hit.highlights:
        if not isinstance(one, Highlight) or not isinstance(one.term, str):
            raise PluginError("gave a hit a highlight that is no Highlight")
        yield one
    if hit.passage is not None:
        if not isinstance(hit.passage, Span):
            raise PluginError("gave a hit a passage that is no Span")
        yield hit.passage


def _is_part(passage: Passage, whole: Passage) -> bool:
    if passage is whole:
        return True
    start, end = passage.start - whole.start, passage.end - whole.start
    inside = 0 <= start <= end <= whole.end - whole.start
    return passage.ordinal == whole.ordinal and inside and whole.text[start:end] == passage.text
