"""Recommends a way of searching from a comparison: the default, unless another way is significantly better. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from semantik_pipeline.search.evaluation.comparison import Compared, Comparison
from semantik_pipeline.search.request import SearchPlan

#: A way that is not significantly different from the default is mentioned if its mean is at most LOSS lower and it
#: takes less than the share TIME of the default's time.
LOSS, TIME = 0.005, 0.5
#: With fewer queries, even differences that matter are not significant.
FEW = 50


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The recommended ``way``; None: the default is as good as any.

    ``settings``, by dotted name, make a collection search in that way. ``changes`` are the changes of the index's
    configuration that the way needs. ``notes`` are sentences.
    """

    way: str | None
    reason: str
    settings: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def recommended(comparison: Comparison) -> Recommendation:
    """Recommend the best of the ways that are significantly better than the default, by the adjusted p.

    ``verbatim`` queries consist of words of the documents and can't show how much weight words should have. With them,
    a way that gives more weight to words is not recommended.
    """
    default = comparison.default
    better = [one for one in comparison.ways if one.verdict == "better"]
    wordy = [one for one in better if comparison.verbatim and _leans_on_words(one.way.plan, default.way.plan)]
    best = max((one for one in better if one not in wordy), key=Compared.mean, default=None)
    notes = _notes(comparison, [*wordy, best])
    if wordy:
        names = " and ".join(one.way.name for one in wordy)
        notes.append(
            f"{names} found more. But these queries consist of words from the documents, so they can't show how much"
            " weight words should get: only questions that people ask can."
        )
    if best is None:
        asked = f"{len(default.report.per_query):,} queries"
        told = "no better way that does not just rely on words" if wordy else "no better way"
        reason = f"The default, {default.way.name}, is as good as any: {asked} show {told}."
        return Recommendation(way=None, reason=reason, notes=notes)
    reason = (
        f"{best.way.name} is better than the default, {default.way.name}: "
        f"nDCG@10 {best.mean():.4f} against {default.mean():.4f} (adjusted p = "
        f"{best.p_adjusted:.4f}){_price(best, default)}."
    )
    return Recommendation(
        way=best.way.name,
        reason=reason,
        settings=settings_for(best.way.plan, default.way.plan),
        changes=best.way.changes,
        notes=notes,
    )


def _leans_on_words(plan: SearchPlan, default: SearchPlan) -> bool:
    return plan.mode == "sparse" or (plan.mode == "hybrid" and plan.dense_weight < default.dense_weight)


def settings_for(plan: SearchPlan, default: SearchPlan) -> dict[str, Any]:
    """Return the collection settings, by dotted name, with which a search without parameters has this plan.

    Only settings that differ from the ``default`` are returned. A plan with one leg becomes min-max fusion with all the
    weight on that leg, which gives the same order.
    """
    weight = {"dense": 1.0, "sparse": 0.0}.get(plan.mode, plan.dense_weight)
    wanted = {
        "search.fusion": plan.fusion if plan.mode == "hybrid" else "minmax",
        "search.dense_weight": weight,
        "search.rerankers": _entries(plan),
        "search.rerank_weight": plan.rerank_weight if plan.rerankers else default.rerank_weight,
    }
    there = {
        "search.fusion": default.fusion,
        "search.dense_weight": default.dense_weight,
        "search.rerankers": _entries(default),
        "search.rerank_weight": default.rerank_weight,
    }
    if wanted["search.fusion"] == "rrf":  # rrf does not use the weight
        wanted["search.dense_weight"] = default.dense_weight
    return {name: value for name, value in wanted.items() if value != there[name]}


def _entries(plan: SearchPlan) -> list[str | dict[str, Any]]:
    """Return the rerankers as entries of a collection's configuration, with the options that were measured."""
    return [{"plugin": one.plugin, "options": one.options} if one.options else one.plugin for one in plan.rerankers]


def _price(one: Compared, default: Compared) -> str:
    if one.p50_ms is None or default.p50_ms is None:
        return ""
    return f", in {one.p50_ms:,.0f} ms instead of {default.p50_ms:,.0f}"


def _notes(comparison: Comparison, but: Sequence[Compared | None]) -> list[str]:
    """Return further notes. Ways in ``but`` are not mentioned again."""
    default = comparison.default
    asked = len(default.report.per_query)
    notes = []
    if asked < FEW:
        notes.append(f"{asked} queries are few: only large differences can be distinguished from chance.")
    cheap = [
        one
        for one in comparison.ways
        if one.verdict in ("alike", "better") and one not in but and _quick(one, default)
        if one.mean() >= default.mean() - LOSS
    ]
    if cheap:
        best = max(cheap, key=Compared.mean)
        notes.append(f"{best.way.name} is as good, as far as these queries can show{_price(best, default)}.")
    return notes


def _quick(one: Compared, default: Compared) -> bool:
    return one.p50_ms is not None and default.p50_ms is not None and one.p50_ms < TIME * default.p50_ms
