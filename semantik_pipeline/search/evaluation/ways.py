"""Ways of searching one collection that are worth comparing, by names that say what each does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import UsageError
from semantik_pipeline.questions import SearchQuery
from semantik_pipeline.search.query import check_search
from semantik_pipeline.search.request import FUSIONS, SearchPlan

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Weights of the dense leg beside the default one.
WEIGHTS = (0.4, 0.8)


@dataclass(frozen=True, kw_only=True)
class Way:
    """``query`` is a search whose text is replaced, ``plan`` what it becomes. ``default``: it is what a search does that
    asks for nothing. ``changes``, by dotted names, are those of the index that it asks, against the collection's own."""

    name: str
    query: SearchQuery
    plan: SearchPlan
    default: bool = False
    changes: dict[str, Any] = field(default_factory=dict)


def way(runtime: Runtime, query: SearchQuery, config: dict[str, Any], *, default: bool = False) -> Way:
    """The way of a query to a collection of that configuration. Raises what :func:`check_search` raises."""
    plan = check_search(runtime, query, config)
    return Way(name=name_of(plan), query=query, plan=plan, default=default)


def ways(runtime: Runtime, base: SearchQuery, config: dict[str, Any]) -> list[Way]:
    """The default first; then each leg alone, each fusion and some weights without a reranker, and each reranker that is
    loaded behind the default's fusion. What amounts to the same is there once.

    ``base`` says what holds for all of them: collection, limit, filter. ``config`` is the collection's configuration.
    """
    plain = replace(base, rerank=False, reranker=None)
    asked = [replace(plain, mode="dense"), replace(plain, mode="sparse")]
    asked += [replace(plain, fusion=fusion) for fusion in FUSIONS]
    asked += [replace(plain, fusion="minmax", dense_weight=weight) for weight in WEIGHTS]
    asked += [replace(base, reranker=plugin.id) for plugin in runtime.host.registry.of_kind("reranker")]
    found = [way(runtime, base, config, default=True), *(way(runtime, query, config) for query in asked)]
    by_name: dict[str, Way] = {}
    for one in found:
        by_name.setdefault(one.name, one)
    return list(by_name.values())


def chosen(found: Iterable[Way], names: Iterable[str]) -> list[Way]:
    """The default, and those whose names begin with one of these, in any case. Raises UsageError for a name that none
    begins with."""
    there = list(found)
    kept = {one.name for one in there if one.default}
    for name in names:
        meant = {one.name for one in there if one.name.lower().startswith(name.strip().lower())}
        meant |= {one.name for one in there if name.strip().lower() in rerankers_of(one.plan)}
        if not meant:
            raise UsageError(f"There is no way {name!r}.", f"The ways are: {', '.join(one.name for one in there)}.")
        kept |= meant
    return [one for one in there if one.name in kept]


def name_of(plan: SearchPlan) -> str:
    """``dense``, ``rrf``, ``minmax 0.6 + late-interaction 0.3``: with the weights that count."""
    legs = plan.mode if plan.mode != "hybrid" else plan.fusion
    if plan.mode == "hybrid" and plan.fusion != "rrf":
        legs += f" {plan.dense_weight:g}"
    named = rerankers_of(plan)
    return f"{legs} + {' + '.join(named)} {plan.rerank_weight:g}" if named else legs


def rerankers_of(plan: SearchPlan) -> tuple[str, ...]:
    """The ids of the rerankers that read one after the other."""
    return tuple(one.plugin for one in plan.rerankers)
