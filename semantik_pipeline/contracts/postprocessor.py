"""Postprocessors: what becomes of a search's hits after their order is found."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from semantik_pipeline.contracts.plugin import SemanticPlugin
from semantik_pipeline.documents import Passage, SearchHit

if TYPE_CHECKING:
    import numpy as np

#: What stands on or beside letters and belongs to them, as a regular expression has it within brackets.
MARKS = "\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e"
_WORD = re.compile(f"(?:[^\\W_]|[{MARKS}])+")


class QueryText(str):
    """The query as a text. ``terms`` are its words in lower case, each once, in their order; ``phrases`` are those that
    a hit has word for word."""

    __slots__ = ("phrases", "terms")

    terms: tuple[str, ...]
    phrases: tuple[str, ...]

    def __new__(cls, text: str, *, terms: Iterable[str] | None = None, phrases: Iterable[str] = ()) -> QueryText:
        query = super().__new__(cls, text)
        words = _WORD.findall(text) if terms is None else terms
        query.terms = tuple(dict.fromkeys(word.casefold() for word in words))
        query.phrases = tuple(phrases)
        return query

    @property
    def text(self) -> str:
        return str(self)


class PostprocessContext:
    """What a postprocessor may ask of the index and the ledger: each call is one round trip for all the hits, and tells
    nothing that the caller may not see. ``offset`` and ``limit`` are the page that is asked for."""

    offset: int = 0
    limit: int = 10

    async def vectors(self, hits: Sequence[SearchHit]) -> list[np.ndarray | None]:
        """The hits' vectors, (d,) float32 each; None of one that the store does not give."""
        raise NotImplementedError

    async def around(self, hits: Sequence[SearchHit], before: int = 1, after: int = 1) -> list[list[Passage]]:
        """For each hit up to so many chunks of its document before and after it, in the document's order, without the
        hit itself; none where the document has another revision by now, or may not be shown any more."""
        raise NotImplementedError


class PostprocessorPlugin(SemanticPlugin):
    """Leaves out, moves, joins or annotates hits. Several work in a row, each on what the one before left."""

    PLUGIN_TYPE: ClassVar[str] = "postprocessor"
    #: True: it adds to hits, and neither leaves out nor moves any. At the end of a chain it is given the page alone.
    ANNOTATES: ClassVar[bool] = False
    #: True: what it does with a hit depends on hits of its own document alone, so that it matters not which others there are.
    BY_DOCUMENT: ClassVar[bool] = False
    #: How many hits it wants to see, however few are asked for; it gets fewer where there are no more.
    POOL: ClassVar[int] = 0

    def process(
        self, query: QueryText, hits: list[SearchHit], context: PostprocessContext
    ) -> list[SearchHit] | Awaitable[list[SearchHit]]:
        """The hits as they shall be, best first. ``async def`` for one that awaits something, as the context's methods;
        a plain method for one that only computes. At the deadline the first is cancelled, the second left behind.

        ``hits`` are those that pass the query's threshold, best first, before any page is cut from them. Give back some
        of them, each at most once, moved as you like, changed by ``dataclasses.replace``: ``score``, ``metadata`` and
        what postprocessors may add. Their ``rank`` tells the host which is which: leave it. ``grouped_hits`` may have
        others of these hits, ``context_before`` and ``context_after`` what the context gave, whole or in part.

        So that pages agree, the hits at the beginning must not depend on how many follow after the first ``POOL``.
        Whatever this raises, or gives back that is not so, leaves the hits as they were, with a warning; and so does
        taking longer than ``search.postprocess_deadline``.
        """
        raise NotImplementedError
