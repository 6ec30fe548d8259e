"""Fuses the legs of a query into one ranked list. Pure: values in, values out.

Scores of different kinds (cosine, BM25) can't be added as they are. ``minmax`` maps each leg's own scores to 0..1 and
adds them with weights. ``dbsf`` (distribution-based score fusion, which Qdrant also has) maps them by their mean and
standard deviation, so that one outlier does not press the others together. ``rrf`` is reciprocal rank fusion (Cormack,
Clarke and Büttcher, SIGIR 2009), which uses ranks only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Any

from semantik_pipeline.documents import Leg, ScoredPoint

#: The constant k of the paper. The larger it is, the smaller is the advantage of the first ranks.
RRF_K = 60

#: ``dbsf`` maps this many standard deviations around a leg's mean to 0..1: nearly all scores of any distribution.
SPREAD = 3


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A point that may become a hit.

    ``scores`` are the legs' raw scores; a leg that did not find the point is absent. ``fused`` is within 0..1.
    ``payload`` is empty until it is read from the store.
    """

    id: str
    scores: dict[str, float] = field(default_factory=dict)
    fused: float
    payload: dict[str, Any] = field(default_factory=dict)


def leg_of(points: Sequence[ScoredPoint]) -> Leg:
    """Make a leg of the points. Points whose score is not finite are dropped: normalized beside an infinite score, the
    other scores would lose their differences."""
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
    """Yield each point of the legs once, best first; points with equal scores in order of id, so that answers are
    stable.

    ``legs`` are ``dense``, ``sparse`` or both, each best first, with finite scores. An empty leg has no weight. The
    first ``scored`` points of each leg (None: all) determine the fused scores. Points beyond them in all legs follow
    with the score 0, in the order of their best rank, so that a deeper search repeats the list of a shallower one and
    continues it. ``shares`` replaces the result of :func:`normalised` if it was taken over more points than these; a
    point without a share counts as 0. Candidates are created lazily, because a search uses a few dozen of some
    hundreds.
    """
    present = {name: leg[:scored].by_id for name, leg in legs.items() if leg}
    shares = normalised(present, method) if shares is None else shares
    weights, fused = leg_weights(shares, dense_weight, method), dict[str, float]()
    for name, leg_scores in present.items():
        weight, share_of, known = weights[name], shares[name].get, fused.get
        for id in leg_scores:
            fused[id] = known(id, 0.0) + weight * share_of(id, 0.0)
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
    """Map each leg's scores (by id, best first) to shares within 0..1, as the fusion ``method`` does."""
    scale = {"rrf": _ranked, "dbsf": by_spread}.get(method, min_max)
    return {name: scale(leg) for name, leg in legs.items()}


def leg_weights(legs: Collection[str], dense_weight: float, method: str) -> dict[str, float]:
    """Return the weight of each leg; the weights add up to 1.

    A point's fused score is the sum of weight × normalized score over the legs that found it.
    """
    if method == "rrf" or len(legs) == 1:
        return {name: 1 / len(legs) for name in legs}
    weights = {"dense": dense_weight, "sparse": 1 - dense_weight}
    return {name: weights[name] for name in legs}


def min_max(scores: Mapping[Any, float]) -> dict[Any, float]:
    """Map scores to 0..1, the lowest to 0 and the highest to 1. Equal scores (or a single one) all map to 1."""
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    # Halve first, so that a span from -1e308 to 1e308 does not overflow.
    span = high / 2 - low / 2
    if span <= 0 or not math.isfinite(span):
        return dict.fromkeys(scores, 1.0)
    floor = low / 2
    shares = [(score / 2 - floor) / span for score in scores.values()]  # rounding is monotonic, so within 0..1
    return dict(zip(scores, shares, strict=True))


def by_spread(scores: Mapping[Any, float]) -> dict[Any, float]:
    """Map scores to 0..1: their mean to 1/2, and SPREAD or more standard deviations below and above it to 0 and 1.

    If all are equal (or there is one only), there is no spread, and all map to 1/2.
    """
    largest = max(map(abs, scores.values()), default=0.0) or 1.0  # scaled by it, no square overflows
    scaled = {key: score / largest for key, score in scores.items()}
    mean = math.fsum(scaled.values()) / max(1, len(scaled))
    deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scaled.values()) / max(1, len(scaled)))
    if deviation < 1e-12:
        return dict.fromkeys(scores, 0.5)
    return {key: min(1.0, max(0.0, 0.5 + (score - mean) / (2 * SPREAD * deviation))) for key, score in scaled.items()}


def _ranked(leg: Mapping[str, float]) -> dict[str, float]:
    """Return 1 / (RRF_K + rank) relative to rank 1, so that the weighted sum over the legs is within 0..1."""
    return {id: (RRF_K + 1) / (RRF_K + rank) for rank, id in enumerate(leg, 1)}
