"""Blends the rerankers' scores with the fused ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from semantik_pipeline.search.fusion import Candidate, min_max


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A reranker's own ``score`` for a candidate, and the ``share``, that score mapped to 0..1, which is blended."""

    reranker: str
    score: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A candidate with its final score and the judgements of the rerankers that scored it, in their order."""

    candidate: Candidate
    score: float
    judgements: tuple[Judgement, ...] = ()

    @property
    def rerank(self) -> float | None:
        """The score that the last reranker gave; None if no reranker scored the candidate."""
        return self.judgements[-1].score if self.judgements else None

    def judgement_of(self, reranker: str) -> Judgement | None:
        return next((one for one in self.judgements if one.reranker == reranker), None)


@dataclass(frozen=True, kw_only=True)
class RerankerReport:
    """What one reranker of the chain did.

    It ``scored`` so many of its ``candidates``. ``reason`` says why some have no score; None if all have one.
    """

    id: str
    scored: int
    candidates: int
    duration_ms: float = 0.0
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """Candidates in their final order, with the rerankers' reports and warnings.

    ``among_others`` is set if they were reranked together with candidates of other collections. It then names the
    rerankers whose judgements are in the scores.
    """

    ranked: list[Ranked]
    reports: list[RerankerReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    among_others: tuple[str, ...] | None = None

    @property
    def blended(self) -> tuple[str, ...]:
        """The ids of the rerankers whose judgements are in the scores."""
        own = tuple(report.id for report in self.reports if report.scored)
        return own if self.among_others is None else self.among_others

    @property
    def reranked(self) -> bool:
        """Whether any reranker scored any candidate."""
        return any(report.scored for report in self.reports)


def unranked(
    candidates: Sequence[Candidate], judgements: Mapping[str, tuple[Judgement, ...]] = MappingProxyType({})
) -> Reranking:
    """Return the candidates in the given order with their fused scores.

    ``judgements``, by candidate id, are attached. They do not change scores or order: :func:`blend_judged` does.
    """
    return Reranking(
        ranked=[Ranked(candidate=c, score=c.fused, judgements=judgements.get(c.id, ())) for c in candidates]
    )


def blend(
    before: Sequence[Ranked],
    scores: Mapping[int, float],
    weight: float,
    *,
    reranker: str,
    calibrated: bool = False,
) -> list[Ranked]:
    """Record one reranker's ``scores``, by position in ``before`` (best first), and blend them by :func:`blend_judged`.

    :func:`shares` maps the scores to 0..1. Without any score, the order and scores of ``before`` remain.
    """
    if not scores:
        return list(before)
    share = shares(scores, calibrated)
    judged = [
        replace(entry, judgements=(*entry.judgements, Judgement(reranker=reranker, score=scores[at], share=share[at])))
        if at in scores
        else entry
        for at, entry in enumerate(before)
    ]
    return blend_judged(judged, reranker, weight)


def blend_judged(ranked: Sequence[Ranked], reranker: str, weight: float) -> list[Ranked]:
    """Return the entries with the score ``weight × share + (1 - weight) × score before``, best first.

    The share is that of the entry's judgement by ``reranker``. Entries with equal scores keep their order.

    An entry without that judgement has the share 0, the lowest possible. The best entries are scored first, so a
    reranker that runs out of time never lifts an unscored entry above a scored one.
    """
    blended = []
    for entry in ranked:
        judgement = entry.judgement_of(reranker)
        share = judgement.share if judgement else 0.0
        blended.append(replace(entry, score=weight * share + (1 - weight) * entry.score))
    return sorted(blended, key=lambda entry: -entry.score)


def shares(scores: Mapping[int, float], calibrated: bool = False) -> dict[int, float]:
    """Map scores to 0..1, the lowest to 0 and the highest to 1.

    ``calibrated`` scores are kept as they are, unless one of them is outside 0..1.
    """
    if calibrated and all(0 <= score <= 1 for score in scores.values()):
        return dict(scores)
    return min_max(scores)
