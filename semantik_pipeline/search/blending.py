"""The rerankers' scores and the fused ones in one order. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from semantik_pipeline.search.fusion import Candidate, min_max


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What one reranker said of a candidate: its own score, and the share of 0..1 that it was blended as."""

    reranker: str
    score: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A candidate with its final score, and what the rerankers that read it said, in their order."""

    candidate: Candidate
    score: float
    judgements: tuple[Judgement, ...] = ()

    @property
    def rerank(self) -> float | None:
        """The own score of the last reranker that read it (None: none did)."""
        return self.judgements[-1].score if self.judgements else None


@dataclass(frozen=True, kw_only=True)
class RerankerReport:
    """What a reranker of the chain did: how many of its candidates it scored, how long that took, and why
    some have no score (None: all have one)."""

    id: str
    scored: int
    candidates: int
    duration_ms: float = 0.0
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """Candidates in their final order, and what is to be said about how they got there. ``among_others``: they were
    reranked with those of other collections, by these rerankers."""

    ranked: list[Ranked]
    reports: list[RerankerReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    among_others: tuple[str, ...] | None = None

    @property
    def blended(self) -> tuple[str, ...]:
        """The rerankers whose word is in the scores."""
        own = tuple(report.id for report in self.reports if report.scored)
        return own if self.among_others is None else self.among_others

    @property
    def reranked(self) -> bool:
        """Whether any reranker scored any of them."""
        return any(report.scored for report in self.reports)


def unranked(candidates: Sequence[Candidate]) -> Reranking:
    """The fused order as the answer."""
    return Reranking(ranked=[Ranked(candidate=c, score=c.fused) for c in candidates])


def blend(
    before: Sequence[Ranked],
    scores: Mapping[int, float],
    weight: float,
    *,
    reranker: str = "",
    calibrated: bool = False,
) -> list[Ranked]:
    """All of ``before`` (best first) in the order of ``weight × reranker's share + (1 - weight) × score before``.

    ``scores`` maps positions to the reranker's scores; for their shares see :func:`shares`. A candidate without a score
    counts as 0, the least that there is: since the best ones are scored first, running out of time never lifts an
    unscored candidate above a scored one. Equal ones stay as they were; without any score all do.
    """
    if not scores:
        return list(before)
    judged = shares(scores, calibrated)
    ranked = []
    for position, entry in enumerate(before):
        said = entry.judgements
        if position in scores:
            said = (*said, Judgement(reranker=reranker, score=scores[position], share=judged[position]))
        score = weight * judged.get(position, 0.0) + (1 - weight) * entry.score
        ranked.append(replace(entry, score=score, judgements=said))
    return sorted(ranked, key=lambda entry: -entry.score)


def shares(scores: Mapping[int, float], calibrated: bool = False) -> dict[int, float]:
    """The scores within 0..1: as they are where they are ``calibrated`` (which is believed of what lies in there),
    else mapped, the lowest to 0 and the highest to 1."""
    if calibrated and all(0 <= score <= 1 for score in scores.values()):
        return dict(scores)
    return min_max(scores)
