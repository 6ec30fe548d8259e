"""The ways of searching a collection that a comparison tries, with descriptive names."""

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

#: Weights of the dense leg that are tried besides the default.
WEIGHTS = (0.4, 0.8)


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way of searching. ``query`` is a search whose text is replaced; ``plan`` is its plan.

    ``default``: it is the way of a search without parameters. ``changes``, by dotted name, are the differences between
    the configuration of the index that it searches and the collection's own.
    """

    name: str
    query: SearchQuery
    plan: SearchPlan
    default: bool = False
    changes: dict[str, Any] = field(default_factory=dict)


def way(runtime: Runtime, query: SearchQuery, config: dict[str, Any], *, default: bool = False) -> Way:
    """Return the way of a query, for a collection with this configuration. Raises what :func:`check_search` raises."""
    plan = check_search(runtime, query, config)
    return Way(name=name_of(plan), query=query, plan=plan, default=default)


def ways(runtime: Runtime, base: SearchQuery, config: dict[str, Any]) -> list[Way]:
    """Return the ways to compare, the default first.

    The others are: each leg alone, each fusion and some weights, without a reranker; and the default's fusion with each
    loaded reranker. Equal ways are returned once. ``base`` has what is common to all of them: collection, limit,
    filter. ``config`` is the collection's configuration.
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
    """Return the default, and the ways whose name starts with one of ``names`` or that use a reranker of that name.

    Case is ignored. Raises UsageError for a name that matches no way.
    """
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
    """Return a name such as ``dense``, ``rrf`` or ``minmax 0.6 + late-interaction 0.3``, with weights that apply."""
    legs = plan.mode if plan.mode != "hybrid" else plan.fusion
    if plan.mode == "hybrid" and plan.fusion != "rrf":
        legs += f" {plan.dense_weight:g}"
    named = rerankers_of(plan)
    return f"{legs} + {' + '.join(named)} {plan.rerank_weight:g}" if named else legs


def rerankers_of(plan: SearchPlan) -> tuple[str, ...]:
    """Return the ids of the plan's rerankers, in order."""
    return tuple(one.plugin for one in plan.rerankers)
