"""Questions that come together: their vectors are made together."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from semantik_pipeline.errors import FingerprintMismatch
from semantik_pipeline.questions import SearchQuery
from semantik_pipeline.search.query import check_search

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


def embed_together(runtime: Runtime, queries: Iterable[SearchQuery]) -> None:
    """Have the vectors of all these queries ready, by one forward pass for each collection (and 64 texts): each search
    will find its own. A query with a typing error is embedded once more, as it was meant.

    Raises what the searches would: of their checks, and of the embedding plugin.
    """
    by_collection: dict[str, list[SearchQuery]] = {}
    for query in queries:
        by_collection.setdefault(query.collection, []).append(query)
    for collection, some in by_collection.items():
        view = runtime.ledger.search_view(collection)
        plans = [check_search(runtime, query, view.config) for query in some]
        texts = list(dict.fromkeys(plan.text for plan in plans if plan.text and plan.mode != "sparse"))
        if len(texts) > 1:
            with suppress(FingerprintMismatch):  # a hybrid search does without; another one will say so
                runtime.query_vectors.of(runtime, view, texts)
