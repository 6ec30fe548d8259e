"""Groups the hits of each document into one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from semantik_pipeline.builtin.postprocessors.from_hits import FromHits
from semantik_pipeline.contracts.document_scores import document_score
from semantik_pipeline.contracts.postprocessor import PostprocessContext, QueryText
from semantik_pipeline.documents import SearchHit

Documents = dict[tuple[str, Any], list[SearchHit]]


class GroupPostprocessor(FromHits):
    """Each document is represented by its best hit; the next best are its ``grouped_hits``. Its score combines them.

    Scores are computed from the first ``POOL`` hits, whatever page is requested. Documents without a hit among these
    follow in the order of their best hit.
    """

    PLUGIN_ID = "group"
    PLUGIN_VERSION = "1.0.0"
    POOL = 200
    BY_DOCUMENT = True
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Group by document",
        "description": "Each document once, with its best passages.",
        "license": "Apache-2.0",
    }

    OPTIONS: ClassVar[dict[str, dict[str, Any]]] = {
        "k": {
            "type": "integer",
            "minimum": 1,
            "maximum": 50,
            "default": 3,
            "description": "Maximum number of passages of a document: the best one and those ranked next.",
        },
        "score": {
            "type": "string",
            "enum": ["several", "best"],
            "default": "several",
            "description": "Score of a document: several ranks a document with several good passages higher; best is"
            " the score of its best passage.",
        },
    }

    def process(self, query: QueryText, hits: list[SearchHit], context: PostprocessContext) -> list[SearchHit]:
        documents = _by_document(hits)
        ordered = list(documents)
        scores = {key: mine[0].score for key, mine in documents.items()}
        if self.option("score") == "several":
            pool = _by_document(hits[: self.POOL])
            several = {key: document_score(one.score for one in mine) for key, mine in pool.items()}
            scores |= several
            ordered = [*sorted(pool, key=lambda key: -several[key]), *(key for key in documents if key not in pool)]
        others = self.option("k") - 1
        return [_joined(documents[key], scores[key], others) for key in ordered]


def _by_document(hits: list[SearchHit]) -> Documents:
    """Document -> its hits, in order. Unique ids are unique only within a source, so the source is part of the key."""
    found: Documents = {}
    for hit in hits:
        found.setdefault((hit.document, hit.metadata.get("source")), []).extend((hit, *hit.grouped_hits))
    return found


def _joined(hits: list[SearchHit], score: float, others: int) -> SearchHit:
    first, *rest = hits
    return replace(first, score=score, grouped_hits=[replace(one, grouped_hits=[]) for one in rest[:others]])
