"""Reduces several hits that say nearly the same to one."""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import replace
from typing import Any, ClassVar

from semantik_pipeline.builtin.postprocessors.from_hits import FromHits
from semantik_pipeline.builtin.stores.unspaced import in_pairs
from semantik_pipeline.contracts.postprocessor import PostprocessContext, QueryText
from semantik_pipeline.documents import SearchHit

#: Words in one shingle. One changed word changes three shingles.
SHINGLE = 3

#: Hits between two points at which the call can be cancelled.
YIELD_EVERY = 25

_NUMBER = re.compile(r"\d[\d.,:/-]*\d|\d")

Shingles = frozenset[tuple[str, ...]]


class DedupePostprocessor(FromHits):
    """Of hits whose texts share most of their runs of three words, the best one is kept; its ``duplicates`` names the
    other documents. Texts with different numbers are never duplicates: price lists of two years look alike."""

    PLUGIN_ID = "dedupe"
    PLUGIN_VERSION = "1.0.0"
    POOL = 50
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Dedupe",
        "description": "Leaves out hits that say nearly the same as a better one.",
        "license": "Apache-2.0",
    }

    OPTIONS: ClassVar[dict[str, dict[str, Any]]] = {
        "threshold": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 1,
            "default": 0.9,
            "description": "Share of three-word sequences that two texts must have in common (Jaccard index).",
        },
    }

    async def process(self, query: QueryText, hits: list[SearchHit], context: PostprocessContext) -> list[SearchHit]:
        kept: list[SearchHit] = []
        others: list[dict[str, None]] = []
        known = KnownTexts(self.option("threshold"))
        for place, hit in enumerate(hits):
            if place % YIELD_EVERY == 0:
                await asyncio.sleep(0)  # the deadline may have passed, and other tasks need to run
            like = known.like(hit.text)
            if like is None:
                kept.append(hit)
                others.append(dict.fromkeys(hit.duplicates))
            else:
                others[like] |= dict.fromkeys((hit.document, *hit.duplicates))
        return [
            replace(hit, duplicates=[name for name in also if name != hit.document])
            for hit, also in zip(kept, others, strict=True)
        ]


class KnownTexts:
    """Texts that differ from each other.

    A new text is compared only with texts that share one of its first shingles, in an order that is the same for all
    texts. If two sets have at least the share t in common, each has a common element among its first n - t × n + 1. The
    cost of a text therefore depends only on its own length, however many are known, and the result is exact (Chaudhuri,
    Ganti and Kaushik, "A Primitive Operator for Similarity Joins in Data Cleaning", ICDE 2006).
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._texts: list[tuple[str, Shingles]] = []
        self._having: dict[tuple[str, ...], list[int]] = {}

    def like(self, text: str) -> int | None:
        """The number of the first known text that is nearly the same. If there is none, add the text; return None."""
        shingles = shingles_of(text)
        needed = math.ceil(self._threshold * len(shingles) - 1e-9)
        first = sorted(shingles, key=hash)[: len(shingles) - needed + 1]
        for number in sorted({number for shingle in first for number in self._having.get(shingle, ())}):
            known, theirs = self._texts[number]
            if alike(shingles, theirs) >= self._threshold and numbers_of(text) == numbers_of(known):
                return number
        for shingle in first:
            self._having.setdefault(shingle, []).append(len(self._texts))
        self._texts.append((text, shingles))
        return None


def shingles_of(text: str) -> Shingles:
    """Each run of three words, in lower case; a shorter text is one run. In scripts without spaces, every two
    neighbouring characters count as a word, as they do for BM25; otherwise a whole passage would be one word."""
    words = in_pairs(text.casefold()).split()
    if len(words) < SHINGLE:
        return frozenset((tuple(words),))
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def alike(one: Shingles, other: Shingles) -> float:
    """Jaccard's index: the elements that both sets have, as a share of those that either has."""
    common = len(one & other)
    return common / (len(one) + len(other) - common)


def numbers_of(text: str) -> list[str]:
    return _NUMBER.findall(text)
