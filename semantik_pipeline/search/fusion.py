"""From the legs of a query to one ranked list. Pure: values in, values out.

Scores of different kinds (cosine, BM25) can't be added as they are. ``minmax`` maps each leg's own results to 0..1
and blends them. ``dbsf`` (distribution-based score fusion, as Qdrant has it too) does so by their mean and spread, so
that one outlier does not press the others together. ``rrf`` is reciprocal rank fusion (Cormack, Clarke and Büttcher,
SIGIR 2009), which looks at ranks only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Any

from semantik_pipeline.documents import Leg, ScoredPoint

#: The constant of the paper: how little the very first ranks stand out.
RRF_K = 60

#: Standard deviations around a leg's mean that ``dbsf`` maps to 0..1: nearly all scores of whatever distribution.
SPREAD = 3


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A point that may become a hit. ``scores`` are the raw ones of the legs (a leg that missed it is absent);
    ``fused`` is in 0..1; ``payload`` is empty until it is asked for."""

    id: str
    scores: dict[str, float] = field(default_factory=dict)
    fused: float
    payload: dict[str, Any] = field(default_factory=dict)


def leg_of(points: Sequence[ScoredPoint]) -> Leg:
    """These points as a leg, without those whose score is no finite number: beside it no other score would count."""
    leg = Leg.of(points)
    return leg if all(map(math.isfinite, leg.scores)) else Leg.of([one for one in leg if math.isfinite(one.score)])


def fuse(
    legs: Mapping[str, Leg],
    *,
    dense_weight: float = 0.6,
    method: str = "minmax",
    scored: int | None = None,
    shares: Mapping[str, Mapping[str, float]] | None = None,
) -> Iterator[Candidate]:
    """Every point of the legs once, best first; equal scores in order of id, so that the answer is stable. Candidates
    are made as they are asked for: of some hundreds a few dozen are.

    ``legs`` are ``dense``, ``sparse`` or both, each best first, with finite scores. A leg without results has no say. Of each leg the first
    ``scored`` count (None: all). What only the rest has follows with 0, in the order of its best rank: so a search that
    goes deeper repeats the list of one that does not, and continues it. ``shares`` are those of :func:`normalised` by
    leg, where they are taken over more than these; what they lack counts as 0.
    """
    present = {name: leg[:scored].by_id for name, leg in legs.items() if leg}
    shares = normalised(present, method) if shares is None else shares
    weights, fused = leg_weights(shares, dense_weight, method), dict[str, float]()
    for name, leg_scores in present.items():
        for id in leg_scores:
            fused[id] = fused.get(id, 0.0) + weights[name] * shares[name].get(id, 0.0)
    ranks: dict[str, int] = {}
    for leg in legs.values() if scored is not None else ():
        for rank, id in enumerate(leg.ids[scored:]):
            if id not in fused:
                ranks[id] = min(rank, ranks.get(id, rank))
    best_first = sorted(fused, key=fused.__getitem__, reverse=True)
    in_order = (id for _, equal in groupby(best_first, key=fused.__getitem__) for id in sorted(equal))
    deeper = (id for _, id in sorted((rank, id) for id, rank in ranks.items()))
    raw = {name: leg.by_id for name, leg in legs.items()} if ranks else present
    return (
        Candidate(id=id, scores={name: leg[id] for name, leg in raw.items() if id in leg}, fused=fused.get(id, 0.0))
        for id in chain(in_order, deeper)
    )


def normalised(legs: Mapping[str, Mapping[str, float]], method: str) -> dict[str, dict[str, float]]:
    """Each leg's own scores (by id, best first) as shares of 0..1, by this method of fusion."""
    scale = {"rrf": _ranked, "dbsf": by_spread}.get(method, min_max)
    return {name: scale(leg) for name, leg in legs.items()}


def leg_weights(legs: Collection[str], dense_weight: float, method: str) -> dict[str, float]:
    """How much each of these legs counts; the weights add up to 1. The fused score is the sum of weight × normalised
    score over the legs that have a point."""
    if method == "rrf" or len(legs) == 1:
        return {name: 1 / len(legs) for name in legs}
    weights = {"dense": dense_weight, "sparse": 1 - dense_weight}
    return {name: weights[name] for name in legs}


def min_max(scores: Mapping[Any, float]) -> dict[Any, float]:
    """The scores mapped to 0..1, the lowest to 0 and the highest to 1; equal ones (or a single one) to 1."""
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    # Halves first, so that a span from -1e308 to 1e308 does not overflow.
    span = high / 2 - low / 2
    if span <= 0 or not math.isfinite(span):
        return dict.fromkeys(scores, 1.0)
    floor = low / 2
    return {key: (score / 2 - floor) / span for key, score in scores.items()}  # rounding keeps order, so 0..1 too


def by_spread(scores: Mapping[Any, float]) -> dict[Any, float]:
    """The scores mapped to 0..1, their mean to 1/2, what lies SPREAD standard deviations from it to 0 and 1, what lies
    farther too; equal ones (or a single one), which have no spread, to 1/2."""
    largest = max(map(abs, scores.values()), default=0.0) or 1.0  # so that no square overflows
    scaled = {key: score / largest for key, score in scores.items()}
    mean = math.fsum(scaled.values()) / max(1, len(scaled))
    deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scaled.values()) / max(1, len(scaled)))
    if deviation < 1e-12:
        return dict.fromkeys(scores, 0.5)
    return {key: min(1.0, max(0.0, 0.5 + (score - mean) / (2 * SPREAD * deviation))) for key, score in scaled.items()}


def _ranked(leg: Mapping[str, float]) -> dict[str, float]:
    """1 / (RRF_K + rank), as a share of what the first has: so the sum over legs can be blended."""
    return {id: (RRF_K + 1) / (RRF_K + rank) for rank, id in enumerate(leg, 1)}
