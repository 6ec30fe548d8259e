"""Hits, and a context for postprocessors, for tests without an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semantik_pipeline.contracts.postprocessor import PostprocessContext
from semantik_pipeline.documents import Passage, SearchHit
from semantik_pipeline.testing.fake_models import hashed_words

if TYPE_CHECKING:
    import numpy as np

#: Dimension of a hit's vector.
DIMENSION = 32


def make_hit(
    rank: int, text: str, *, document: str | None = None, score: float | None = None, **more: Any
) -> SearchHit:
    """A hit with this rank; further arguments are its metadata. By default, the score falls with the rank."""
    start = more.pop("start", 0)
    return SearchHit(
        rank=rank,
        score=1 / (1 + rank) if score is None else score,
        document=document or f"doc-{rank}",
        title=None,
        text=text,
        start=start,
        end=start + len(text),
        metadata={"ordinal": 0, **more},
        scores={"dense": None, "sparse": None, "fused": score, "rerank": None},
    )


class FakeContext(PostprocessContext):
    """A context with fixed data. A text's vector comes from ``vectors``, or by default from its words (similar texts
    are close). ``documents`` holds each document's chunks in order. ``asked`` lists the calls that were made."""

    def __init__(
        self,
        documents: Mapping[str, Sequence[Passage]] | None = None,
        vectors: Mapping[str, Any] | None = None,
        *,
        offset: int = 0,
        limit: int = 10,
    ) -> None:
        self.offset, self.limit = offset, limit
        self.asked: list[str] = []
        self.given: dict[int, list[Passage]] = {}
        self._documents = documents or {}
        self._vectors = vectors

    async def vectors(self, hits: Sequence[SearchHit]) -> list[np.ndarray | None]:
        self.asked.append("vectors")
        if self._vectors is not None:
            return [self._vectors.get(hit.text) for hit in hits]
        return [hashed_words(hit.text, DIMENSION) for hit in hits]

    async def around(self, hits: Sequence[SearchHit], before: int = 1, after: int = 1) -> list[list[Passage]]:
        self.asked.append("around")
        found = [self._around(hit, before, after) for hit in hits]
        for hit, passages in zip(hits, found, strict=True):
            self.given.setdefault(hit.rank, []).extend(passages)
        return found

    def _around(self, hit: SearchHit, before: int, after: int) -> list[Passage]:
        mine = hit.metadata.get("ordinal", 0)
        chunks = self._documents.get(hit.document, ())
        return [one for one in chunks if mine - before <= one.ordinal <= mine + after and one.ordinal != mine]
