"""The reranker's scores and the fused ones in one order. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from semantik_pipeline.search.fusion import Candidate, min_max


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A candidate with its final score; ``rerank`` is the reranker's own score (None: it has none)."""

    candidate: Candidate
    score: float
    rerank: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """Candidates in their final order, and what is to be said about how they got there."""

    ranked: list[Ranked]
    reranked: bool = False
    warnings: list[str] = field(default_factory=list)


def unranked(candidates: Sequence[Candidate], warnings: Sequence[str] = ()) -> Reranking:
    """The fused order as the answer."""
    return Reranking(ranked=[Ranked(candidate=c, score=c.fused) for c in candidates], warnings=list(warnings))


def blend(candidates: Sequence[Candidate], scores: Mapping[int, float], weight: float) -> list[Ranked]:
    """All the candidates in the order of ``weight × reranker's score + (1 - weight) × fused score``.

    ``scores`` maps positions to the reranker's scores, which are min-max normalised over what was scored. A candidate
    without a score counts as the reranker's lowest, 0: since the best fused ones are scored first, running out of
    time never lifts an unscored candidate above a scored one. Without any score the fused order stands.
    """
    if not scores:
        return unranked(candidates).ranked
    judged = min_max(scores)
    ranked = [
        Ranked(
            candidate=candidate,
            score=weight * judged.get(position, 0.0) + (1 - weight) * candidate.fused,
            rerank=scores.get(position),
        )
        for position, candidate in enumerate(candidates)
    ]
    return sorted(ranked, key=lambda r: (-r.score, -r.candidate.fused))  # and as they came
