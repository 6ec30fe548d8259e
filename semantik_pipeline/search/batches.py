"""Questions that come together: all are checked before any is asked, and their vectors are made together."""

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
    """What one collection is asked."""

    view: SearchView
    plans: list[SearchPlan]


def plan_together(runtime: Runtime, queries: Iterable[SearchQuery], *, here: bool) -> list[Planned]:
    """The plans of all these queries, by collection, before any of them is asked. Raises what their checks raise.

    Not ``here``: search workers will answer. What only a plugin can check that this process lacks is left to them; they
    may have it.
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
    """Have the vectors of all these queries ready, by one forward pass for each collection (and 64 texts): each search
    will find its own. A query with a typing error is embedded once more, as it was meant. Raises what the embedding plugin
    raises."""
    for one in planned:
        texts = list(dict.fromkeys(plan.text for plan in one.plans if plan.text and plan.mode != "sparse"))
        if len(texts) > 1:
            with suppress(FingerprintMismatch):  # a hybrid search does without; another one will say so
                runtime.query_vectors.of(runtime, one.view, texts)
