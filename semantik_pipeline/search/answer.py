"""What a search says: hits, what was done to get them, and how long it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from semantik_pipeline.documents import SearchHit
from semantik_pipeline.search.blending import Ranked
from semantik_pipeline.search.request import SearchPlan

#: Payload fields that are the index's own business or have a place of their own in a hit.
INTERNAL = frozenset(
    {
        *("document_id", "document", "epoch", "signature", "occurrence", "text", "title", "start", "end", "metadata"),
        "principals",  # who else may read it is nobody's business
        *("size", "created", "modified", "indexed"),  # for filters; a source may mean another thing by such a name
    }
)


@dataclass(frozen=True, kw_only=True)
class SearchAnswer:
    """Hits best first, those of the page and then those ``beyond`` it that were asked for. ``reranked`` only if a reranker scored at least one of the candidates; ``rerankers`` says of each
    what it did: ``{"id", "scored", "candidates", "duration_ms", "reason"}``.

    ``timings_ms`` names the steps that were taken (``embed``, ``retrieve``, ``rerank`` …) and ``total``. ``facets`` has
    for each field that was asked for its values, ``{"value", "count"}``, the most frequent first. ``document_explanation`` says why the
    document that was asked for is not among the hits. ``interpretation`` is what was made of the query: ``text``, ``phrases``,
    ``excluded``, ``filters`` and ``corrections``; None where it was asked as it stands.
    """

    hits: list[SearchHit]
    reranked: bool = False
    rerankers: list[dict[str, Any]] = field(default_factory=list)
    timings_ms: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    facets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    document_explanation: dict[str, Any] | None = None
    interpretation: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the fields as named here."""
        return asdict(self)


def to_hits(
    ranked: Sequence[Ranked], plan: SearchPlan, explanations: Mapping[str, dict[str, Any]] = MappingProxyType({})
) -> list[SearchHit]:
    """The hits that were asked for of the candidates in this order, with the explanation of each (by id) where there is
    one. The best one has rank 1, wherever they begin."""
    page = passing(ranked, plan)[plan.offset : plan.given]
    return [
        to_hit(rank, entry, explanations.get(entry.candidate.id)) for rank, entry in enumerate(page, plan.offset + 1)
    ]


def passing(ranked: Sequence[Ranked], plan: SearchPlan) -> Sequence[Ranked]:
    """Those that are good enough for the query's threshold, in their order."""
    least = plan.score_threshold
    return ranked if least is None else [entry for entry in ranked if entry.score >= least]


def to_hit(rank: int, entry: Ranked, explanation: dict[str, Any] | None) -> SearchHit:
    payload = entry.candidate.payload
    return SearchHit(
        rank=rank,
        score=entry.score,
        document=payload.get("document", ""),
        title=payload.get("title"),
        text=payload.get("text", ""),
        start=payload.get("start", 0),
        end=payload.get("end", 0),
        metadata=hit_metadata(payload),
        scores={
            "dense": entry.candidate.scores.get("dense"),
            "sparse": entry.candidate.scores.get("sparse"),
            "fused": entry.candidate.fused,
            "rerank": entry.rerank,
        },
        explanation=explanation,
    )


def hit_metadata(payload: dict[str, Any]) -> dict[str, Any]:
    """The connector's metadata, then what the pipeline found (page, section, path, language, entities …).

    The pipeline's word wins where both use a name, because filters ask for the pipeline's; absent values and fields
    that are the index's own business are left out.
    """
    found = {name: value for name, value in payload.items() if name not in INTERNAL and value is not None}
    return {**(payload.get("metadata") or {}), **found}
