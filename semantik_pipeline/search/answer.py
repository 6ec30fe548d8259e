"""The answer of a search: the hits, what was done to find them, and how long it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from semantik_pipeline.documents import SearchHit
from semantik_pipeline.search.blending import Ranked
from semantik_pipeline.search.request import SearchPlan

#: Payload fields that only the index needs, or that have their own field in a hit.
INTERNAL = frozenset(
    {
        *("document_id", "document", "epoch", "signature", "occurrence", "text", "title", "start", "end", "metadata"),
        "principals",  # a caller must not learn who else may read the document
        *("size", "created", "modified", "indexed"),  # for filters; a source's metadata may use these names differently
    }
)


@dataclass(frozen=True, kw_only=True)
class SearchAnswer:
    """The hits of a search, best first, and a report of how they were found.

    ``hits`` are those of the page, then the requested number ``beyond`` it. ``reranked`` is true if a reranker scored
    at least one candidate. ``rerankers`` has one report for each: ``{"id", "scored", "candidates", "duration_ms",
    "reason"}``. ``timings_ms`` maps the steps that ran (``embed``, ``retrieve``, ``rerank`` …) and ``total`` to
    milliseconds. ``facets`` maps each requested field to its values, ``{"value", "count"}``, the most frequent first.
    ``document_explanation`` says why the requested document is not among the hits. ``interpretation`` is how the query
    was read: ``text``, ``phrases``, ``excluded``, ``filters`` and ``corrections``; None if it was not interpreted.
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
        """Return the fields as JSON values, under the same names."""
        return asdict(self)


def to_hits(
    ranked: Sequence[Ranked], plan: SearchPlan, explanations: Mapping[str, dict[str, Any]] = MappingProxyType({})
) -> list[SearchHit]:
    """Return the requested hits, with ``explanations`` by candidate id where there are any.

    Ranks count from the best candidate (rank 1), not from the start of the page.
    """
    page = passing(ranked, plan)[plan.offset : plan.given]
    return [
        to_hit(rank, entry, explanations.get(entry.candidate.id)) for rank, entry in enumerate(page, plan.offset + 1)
    ]


def passing(ranked: Sequence[Ranked], plan: SearchPlan) -> Sequence[Ranked]:
    """Return the entries that reach the plan's score threshold, in their order."""
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
    """Return the connector's metadata and the fields that the pipeline added (page, section, path, language, entities
    …).

    Where both use a name, the pipeline's value wins, because filters match the pipeline's value. Null values and
    INTERNAL fields are left out.
    """
    found = {name: value for name, value in payload.items() if name not in INTERNAL and value is not None}
    return {**(payload.get("metadata") or {}), **found}
