"""Adds the text around a hit in its document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from semantik_pipeline.builtin.postprocessors.from_hits import FromHits
from semantik_pipeline.contracts.postprocessor import PostprocessContext, QueryText
from semantik_pipeline.documents import Passage, SearchHit

#: Chunks of a section that are considered on each side of a hit.
WITHIN_SECTION = 20


_SIDE: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 20, "default": 1}


class NeighboursPostprocessor(FromHits):
    """Fills ``context_before`` and ``context_after`` with the chunks next to the hit, without the text that overlapping
    chunks repeat: the text before, the hit and the text after read on as in the document. The other hits of a group are
    treated the same way."""

    PLUGIN_ID = "neighbours"
    PLUGIN_VERSION = "1.0.0"
    ANNOTATES = True
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Neighbours",
        "description": "The passages before and after a hit, or its whole section.",
        "license": "Apache-2.0",
    }

    OPTIONS: ClassVar[dict[str, dict[str, Any]]] = {
        "before": {**_SIDE, "description": "Chunks before the hit."},
        "after": {**_SIDE, "description": "Chunks after the hit."},
        "section": {
            "type": "boolean",
            "default": False,
            "description": "Also everything under the same headings as the hit.",
        },
    }

    async def process(self, query: QueryText, hits: list[SearchHit], context: PostprocessContext) -> list[SearchHit]:
        before, after = self.option("before"), self.option("after")
        section = self.option("section")
        reach = WITHIN_SECTION if section else 0
        every = [one for hit in hits for one in (hit, *hit.grouped_hits)]
        found = await context.around(every, max(before, reach), max(after, reach))
        done = (
            _with(one, passages, before=before, after=after, section=section)
            for one, passages in zip(every, found, strict=True)
        )
        return [replace(next(done), grouped_hits=[next(done) for _ in hit.grouped_hits]) for hit in hits]


def _with(hit: SearchHit, passages: Sequence[Passage], *, before: int, after: int, section: bool) -> SearchHit:
    ordinal = hit.metadata.get("ordinal", 0)
    earlier = [one for one in passages if one.ordinal < ordinal]
    later = [one for one in passages if one.ordinal > ordinal]
    mine = _section_of(hit)
    kept_before = _near(reversed(earlier), before, mine if section else None)[::-1]
    kept_after = _near(later, after, mine if section else None)
    return replace(hit, context_before=_up_to(kept_before, hit.start), context_after=_from(kept_after, hit.end))


def _near(outwards: Iterable[Passage], count: int, section: list[str] | None) -> list[Passage]:
    """The first ``count`` passages, then, with ``section``, those directly after them under the same headings."""
    kept: list[Passage] = []
    for one in outwards:
        if len(kept) >= count and (section is None or not _within(section, one.section)):
            break
        kept.append(one)
    return kept


def _within(mine: list[str], section: list[str]) -> bool:
    """Whether ``section`` is under the headings ``mine``, or above the first heading if ``mine`` is."""
    return section[: len(mine)] == mine if mine else not section


def _section_of(hit: SearchHit) -> list[str]:
    section = hit.metadata.get("section") or []
    return [section] if isinstance(section, str) else list(section)


def _up_to(passages: Sequence[Passage], end: int) -> list[Passage]:
    """The passages, cut so that none reaches into the next one, and the last ends at ``end`` or before."""
    kept: list[Passage] = []
    for one in reversed(passages):
        stop = min(one.end, end)
        if stop > one.start:
            kept.append(replace(one, text=one.text[: stop - one.start], end=stop))
            end = one.start
    return kept[::-1]


def _from(passages: Sequence[Passage], start: int) -> list[Passage]:
    """The passages, cut so that none starts before ``start`` or within the previous one."""
    kept: list[Passage] = []
    for one in passages:
        begin = max(one.start, start)
        if begin < one.end:
            kept.append(replace(one, text=one.text[begin - one.start :], start=begin))
            start = one.end
    return kept
