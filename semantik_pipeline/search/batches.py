"""Batches of queries: all are checked before any runs, and their vectors are computed together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semantik_pipeline.errors import FingerprintMismatch, PluginNotFoundError
from semantik_pipeline.questions import SearchQuery
from semantik_pipeline.search.query import check_search
from semantik_pipeline.search.request import SearchPlan

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The plans of the queries to one collection."""

    view: SearchView
    plans: list[SearchPlan]


def plan_together(runtime: Runtime, queries: Iterable[SearchQuery], *, here: bool) -> list[Planned]:
    """Check all queries and return their plans, grouped by collection. Raises what :func:`check_search` raises.

    ``here`` is false if search workers will answer. Queries that need a plugin which this process lacks then have no
    plan: the workers may have the plugin, and check them.
    """
    by_collection: dict[str, list[SearchQuery]] = {}
    for query in queries:
        by_collection.setdefault(query.collection, []).append(query)
    planned = []
    for collection, some in by_collection.items():
        one = Planned(view=runtime.ledger.search_view(collection), plans=[])
        for query in some:
            try:
                one.plans.append(check_search(runtime, query, one.view.config))
            except PluginNotFoundError:
                if here:
                    raise
        planned.append(one)
    return planned


def embed_together(runtime: Runtime, planned: Sequence[Planned]) -> None:
    """Put the vectors of all queries into the cache, with one forward pass for each collection and 64 texts.

    Each search then finds its vector there. A query with a typing error is embedded again after its correction. Raises
    what the embedding plugin raises.
    """
    for one in planned:
        texts = list(dict.fromkeys(plan.text for plan in one.plans if plan.text and plan.mode != "sparse"))
        if len(texts) > 1:
            # A hybrid search works without the vector; a dense one raises the error itself.
            with suppress(FingerprintMismatch):
                runtime.query_vectors.of(runtime, one.view, texts)
