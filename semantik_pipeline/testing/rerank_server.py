"""A small real HTTP server that answers ``POST /v1/rerank`` by shared words. For tests of remote rerankers.

It misbehaves on request: see :class:`Script`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from semantik_pipeline.testing.embeddings_server import Answer, EmbeddingsHandler, Script, embeddings_server
from semantik_pipeline.testing.fake_models import overlap


class RerankHandler(EmbeddingsHandler):
    """Answers in the shape of the request: that of Cohere, Voyage or text-embeddings-inference."""

    def usual(self, body: dict[str, Any]) -> Any:
        return ranking(body)


def ranking(body: dict[str, Any]) -> Any:
    """The body of an answer, best first."""
    texts = body["texts"] if "texts" in body else body["documents"]
    scored = sorted(((overlap(body["query"], text), index) for index, text in enumerate(texts)), reverse=True)
    if "texts" in body:
        return [{"index": index, "score": score} for score, index in scored]
    rows = [{"index": index, "relevance_score": score} for score, index in scored]
    if "top_k" in body:
        return {"object": "list", "data": rows[: body["top_k"]], "model": body["model"]}
    return {"id": "0", "results": rows[: body["top_n"]], "meta": {"api_version": {"version": "2"}}}


@contextmanager
def rerank_server(
    decide: Callable[[dict[str, Any]], Answer] = lambda request: None,
) -> Iterator[tuple[str, Script]]:
    """A running server: yields its base URL, and its script for inspection."""
    with embeddings_server(decide, RerankHandler) as running:
        yield running
