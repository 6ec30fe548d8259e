"""What a comparison advises: the default, unless another way is better by more than luck. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from semantik_pipeline.search.evaluation.comparison import Compared, Comparison
from semantik_pipeline.search.request import SearchPlan

#: A way that is not told apart from the default, loses less than this, and takes less than that share of its time is
#: worth a word.
LOSS, TIME = 0.005, 0.5
#: With fewer queries, luck explains differences that matter.
FEW = 50


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """``settings`` by their dotted names make a collection search in the way ``way``, and ``changes`` make its index what
    that way asked; None and nothing: the default is as good as any. ``notes`` are sentences."""

    way: str | None
    reason: str
    settings: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def recommended(comparison: Comparison) -> Recommendation:
    """The best of the ways that are better than the default, by the adjusted p."""
    default = comparison.default
    notes = _notes(comparison)
    better = [one for one in comparison.ways if one.verdict == "better"]
    if not better:
        asked = len(default.report.per_query)
        return Recommendation(
            way=None,
            reason=f"The default, {default.way.name}, is as good as any: {asked} queries tell no other way to be better.",
            notes=notes,
        )
    best = max(better, key=Compared.mean)
    reason = (
        f"{best.way.name} is better than the default, {default.way.name}: "
        f"nDCG@10 {best.mean():.4f} against {default.mean():.4f} (p = {best.p_adjusted:.4f}){_price(best, default)}."
    )
    return Recommendation(
        way=best.way.name,
        reason=reason,
        settings=settings_for(best.way.plan, default.way.plan),
        changes=best.way.changes,
        notes=notes,
    )


def settings_for(plan: SearchPlan, default: SearchPlan) -> dict[str, Any]:
    """What a collection has to say, by dotted names, that a search which asks for nothing becomes this plan: what differs
    from the ``default``. One leg alone is min-max with all the weight on it, which has the same order."""
    weight = {"dense": 1.0, "sparse": 0.0}.get(plan.mode, plan.dense_weight)
    wanted = {
        "search.fusion": plan.fusion if plan.mode == "hybrid" else "minmax",
        "search.dense_weight": weight,
        "search.rerankers": [one.plugin for one in plan.rerankers],
        "search.rerank_weight": plan.rerank_weight if plan.rerankers else default.rerank_weight,
    }
    there = {
        "search.fusion": default.fusion,
        "search.dense_weight": default.dense_weight,
        "search.rerankers": [one.plugin for one in default.rerankers],
        "search.rerank_weight": default.rerank_weight,
    }
    if wanted["search.fusion"] == "rrf":  # which looks at no weight
        wanted["search.dense_weight"] = default.dense_weight
    return {name: value for name, value in wanted.items() if value != there[name]}


def _price(one: Compared, default: Compared) -> str:
    if one.p50_ms is None or default.p50_ms is None:
        return ""
    return f", in {one.p50_ms:,.0f} ms instead of {default.p50_ms:,.0f}"


def _notes(comparison: Comparison) -> list[str]:
    default = comparison.default
    asked = len(default.report.per_query)
    notes = []
    if asked < FEW:
        notes.append(f"{asked} queries are few: only large differences can be told from luck.")
    cheap = [
        one
        for one in comparison.ways
        if one.verdict in ("alike", "better") and one.mean() >= default.mean() - LOSS and _quick(one, default)
    ]
    if cheap:
        best = max(cheap, key=Compared.mean)
        notes.append(f"{best.way.name} is as good as these queries can tell{_price(best, default)}.")
    return notes


def _quick(one: Compared, default: Compared) -> bool:
    return one.p50_ms is not None and default.p50_ms is not None and one.p50_ms < TIME * default.p50_ms
