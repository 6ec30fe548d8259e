"""From ranked chunks to ranked documents. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from semantik_pipeline.documents import SearchHit


def rank_documents(hits: Iterable[SearchHit], document_id: Callable[[SearchHit], str], depth: int) -> list[str]:
    """The first ``depth`` documents in the order of their best chunks, each once. ``hits`` are best first."""
    return list(dict.fromkeys(document_id(hit) for hit in hits))[:depth]


def as_run(documents: list[str]) -> dict[str, float]:
    """Scores that keep exactly this order: measuring tools sort by score and break ties their own way."""
    return {document: float(len(documents) - position) for position, document in enumerate(documents)}
