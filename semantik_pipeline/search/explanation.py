"""Explains each hit's score: the parts of each leg, of fusion, of each reranker and of each postprocessor. Pure.

An explanation consists of JSON values:

- ``legs``: for each leg that found anything, ``rank`` and ``score`` (null if the leg did not find this point), the
  score mapped to 0..1 (``normalised``), and ``weight``. Fusion adds up weight × normalised.
- ``fused``: the ``method``, and the resulting ``rank`` and ``score``.
- ``rerankers``: for each reranker that scored any candidate, its ``plugin``, its own ``score`` (null if it did not
  score this candidate), the score mapped to 0..1 (``normalised``), its ``weight``, and the ``rank`` and the ``blended``
  score after it.
- ``postprocessors``: for each that moved the hit or changed its score, ``plugin``, ``rank_before`` and ``rank_after``.
- ``contributions``: the ``value`` that each ``component`` adds to the score. The values add up to the score. If the
  query has no text, the component ``filter`` has the whole score. A hit that was fetched from deeper was not reranked,
  and must not be better than the last hit before it: the component ``deeper`` subtracts the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from semantik_pipeline.documents import SearchHit
from semantik_pipeline.search.blending import Ranked, Reranking, blend_judged, unranked
from semantik_pipeline.search.fusion import Candidate, leg_weights, normalised
from semantik_pipeline.search.request import SearchPlan
from semantik_pipeline.search.retrieval import Retrieved

Explanation = dict[str, Any]


def explained(plan: SearchPlan, retrieved: Retrieved, reranking: Reranking) -> dict[str, Explanation]:
    """Return the explanation of each candidate's score after the rerankers, by candidate id."""
    legs = _Legs(plan, retrieved)
    found = {candidate.id: legs.explained(candidate, rank) for rank, candidate in enumerate(retrieved.candidates, 1)}
    judgements = {entry.candidate.id: entry.judgements for entry in reranking.ranked}
    order = unranked(retrieved.candidates, judgements).ranked
    for reranker in reranking.blended:
        order = blend_judged(order, reranker, plan.rerank_weight)
        for rank, entry in enumerate(order, 1):
            _add_reranker(found[entry.candidate.id], reranker, plan.rerank_weight, entry, rank)
    return found


def explained_fusion(plan: SearchPlan, retrieved: Retrieved, candidate: Candidate, rank: int) -> Explanation:
    """Return the explanation of the fused score of a candidate with this rank. It need not be in ``retrieved``."""
    return _Legs(plan, retrieved).explained(candidate, rank)


def explained_deeper(plan: SearchPlan, retrieved: Retrieved, entries: Sequence[Ranked]) -> dict[str, Explanation]:
    """Return the explanations, as :func:`explained` does, of candidates that were fetched after reranking.

    ``retrieved`` contains them.
    """
    legs = _Legs(plan, retrieved)
    ranks = {candidate.id: rank for rank, candidate in enumerate(retrieved.candidates, 1)}
    found = {}
    for entry in entries:
        explanation = legs.explained(entry.candidate, ranks[entry.candidate.id])
        if entry.score != entry.candidate.fused:
            explanation["contributions"].append({"component": "deeper", "value": entry.score - entry.candidate.fused})
        found[entry.candidate.id] = explanation
    return found


def moved(plugin: str, before: Sequence[SearchHit], after: Sequence[SearchHit]) -> list[SearchHit]:
    """Return the hits ``after`` a postprocessor, with its step in the explanations of the hits that it changed.

    A hit is changed if its place in the list or its score differs. ``rank`` identifies a hit in both lists; the ranks
    in the step are places in the lists.
    """
    places = {hit.rank: (place, hit) for place, hit in enumerate(before, 1)}
    told = []
    for place, hit in enumerate(after, 1):
        was, known = places.get(hit.rank, (None, None))
        explanation = hit.explanation
        if explanation is not None and (was != place or (known is not None and known.score != hit.score)):
            added = hit.score - (known.score if known is not None else 0.0)
            parts = (
                [*explanation["contributions"], {"component": plugin, "value": added}]
                if added
                else explanation["contributions"]
            )
            step = {"plugin": plugin, "rank_before": was, "rank_after": place}
            steps = [*explanation["postprocessors"], step]
            hit = replace(hit, explanation={**explanation, "postprocessors": steps, "contributions": parts})
        told.append(hit)
    return told


class _Legs:
    """The legs' ranks, scores, normalized scores and weights, by point."""

    def __init__(self, plan: SearchPlan, retrieved: Retrieved) -> None:
        legs = {name: leg for name, leg in retrieved.legs.items() if leg}
        counted = {name: leg[: retrieved.scored].by_id for name, leg in legs.items()}
        self._method = plan.fusion
        self._normalised = normalised(counted, plan.fusion) if retrieved.shares is None else retrieved.shares
        self._weights = leg_weights(self._normalised, plan.dense_weight, plan.fusion)
        self._places = {
            name: {point.id: (rank, point.score) for rank, point in enumerate(leg, 1)} for name, leg in legs.items()
        }

    def explained(self, candidate: Candidate, rank: int) -> Explanation:
        told = self._of(candidate.id)
        fused = {"method": self._method, "rank": rank, "score": candidate.fused}
        parts = [{"component": name, "value": leg["weight"] * leg["normalised"]} for name, leg in told.items()]
        if not told:  # the query was a filter without text: all points that match it have the same score
            parts = [{"component": "filter", "value": candidate.fused}]
        return {"legs": told, "fused": fused, "rerankers": [], "postprocessors": [], "contributions": parts}

    def _of(self, id: str) -> dict[str, dict[str, Any]]:
        told = {}
        for name, places in self._places.items():
            rank, score = places.get(id, (None, None))
            share = self._normalised[name].get(id, 0.0)
            told[name] = {"rank": rank, "score": score, "normalised": share, "weight": self._weights[name]}
        return told


def _add_reranker(explanation: Explanation, reranker: str, weight: float, entry: Ranked, rank: int) -> None:
    """Add the reranker's step to the explanation. ``entry`` has the score, and ``rank`` is the one, after that step."""
    judgement = entry.judgement_of(reranker)
    own, share = (judgement.score, judgement.share) if judgement else (None, 0.0)
    parts = [{**part, "value": (1 - weight) * part["value"]} for part in explanation["contributions"]]
    explanation["contributions"] = [*parts, {"component": reranker, "value": weight * share}]
    step = {"plugin": reranker, "score": own, "normalised": share, "weight": weight}
    explanation["rerankers"].append({**step, "rank": rank, "blended": entry.score})
