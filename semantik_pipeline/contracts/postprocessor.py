"""Postprocessors work on a search's hits after their order is found."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from semantik_pipeline.contracts.languages import stemmed_as
from semantik_pipeline.contracts.plugin import SemanticPlugin
from semantik_pipeline.documents import Passage, SearchHit

if TYPE_CHECKING:
    import numpy as np

#: Marks that belong to the letters they stand on or next to, as ranges for the brackets of a regular expression.
MARKS = "\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e"
_WORD = re.compile(f"(?:[^\\W_]|[{MARKS}])+")


class QueryText(str):
    """The query as a text.

    ``terms`` are its words in lower case, each once, in their order. ``phrases`` must appear in a hit word for word.
    """

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
    """What a postprocessor may ask of the index and the ledger (the pipeline's database).

    Each async call is one round trip for all the hits, and returns only what the caller may see. ``offset`` and
    ``limit`` are those of the requested page.
    """

    offset: int = 0
    limit: int = 10

    def language_of(self, hit: SearchHit) -> str:
        """Return the language by whose stemming rules the index knows the hit's words.

        It is the document's own language, unless the collection has one for all documents; and the collection's if the
        document's own is unknown. ``none`` means that words are used as they are.
        """
        code = hit.metadata.get("language")
        return (stemmed_as(code) if isinstance(code, str) else None) or "english"

    async def vectors(self, hits: Sequence[SearchHit]) -> list[np.ndarray | None]:
        """Return the hits' vectors, (d,) float32 each, or None for a hit without a vector in the store."""
        raise NotImplementedError

    async def around(self, hits: Sequence[SearchHit], before: int = 1, after: int = 1) -> list[list[Passage]]:
        """Return for each hit up to that many chunks before and after it in its document, without the hit itself.

        The chunks are in the document's order. There are none if the document has another revision by now, or may no
        longer be shown.
        """
        raise NotImplementedError


class PostprocessorPlugin(SemanticPlugin):
    """Filters, reorders, joins or annotates hits. Several can run in a row, each on what the one before left."""

    PLUGIN_TYPE: ClassVar[str] = "postprocessor"
    #: True: it adds to hits, and neither leaves out nor moves any. At the end of a chain it receives only the page.
    ANNOTATES: ClassVar[bool] = False
    #: True: what it does with a hit depends only on hits of the same document, whatever other hits there are.
    BY_DOCUMENT: ClassVar[bool] = False
    #: How many hits it wants to see, however few the caller asked for. It gets fewer if there are no more.
    POOL: ClassVar[int] = 0

    def process(
        self, query: QueryText, hits: list[SearchHit], context: PostprocessContext
    ) -> list[SearchHit] | Awaitable[list[SearchHit]]:
        """Return the new list of hits, best first.

        Make it ``async def`` if it awaits something, such as the context's methods, and a plain method if it only
        computes. At the deadline the host cancels an async call, and abandons a plain one.

        ``hits`` are those that pass the query's threshold, best first, before a page is cut from them. Return any of
        them, each at most once, in any order. With ``dataclasses.replace`` you may change ``score``, ``metadata`` and
        the fields that are for postprocessors. Leave ``rank``: it tells the host which hit is which. ``grouped_hits``
        may hold others of these hits; ``context_before`` and ``context_after`` what the context gave, whole or in part.

        The hits at the beginning must not depend on how many follow after the first ``POOL``; otherwise the pages of a
        search don't agree. If this raises, returns something else, or takes longer than
        ``search.postprocess_deadline``, the hits stay as they were, with a warning.
        """
        raise NotImplementedError
