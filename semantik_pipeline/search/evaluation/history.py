"""The history of evaluations: stores measurements in the ledger and compares them with earlier ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semantik_pipeline.ledger.catalog import evaluations
from semantik_pipeline.ledger.catalog.evaluations import Evaluated
from semantik_pipeline.search.evaluation.comparison import DECISIVE
from semantik_pipeline.search.evaluation.judged import Judged
from semantik_pipeline.search.evaluation.measure import MEASURES, EvaluationReport
from semantik_pipeline.search.evaluation.significance import paired_p
from semantik_pipeline.search.evaluation.ways import Way

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Runs are compared over the queries that both asked, if these are at least this share of the smaller run's queries.
SHARED = 0.8


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A way with its measurements, for :func:`keep`."""

    way: Way
    report: EvaluationReport
    p50_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Change:
    """A comparison of a row with an earlier one.

    ``difference`` is that of DECISIVE over the ``queries`` (a count) that both asked, ``p`` its significance.
    ``configured`` has the settings that differ, by dotted name: (before, now).
    """

    before: Evaluated
    difference: float
    p: float
    queries: int
    configured: dict[str, tuple[Any, Any]] = field(default_factory=dict)


def keep(
    runtime: Runtime, *, kind: str, subject: str, collection: str, judged: Judged, measured: Sequence[Measured]
) -> str:
    """Store a run in the ledger and return its id."""
    from semantik_pipeline import __version__

    view = runtime.ledger.search_view(collection)
    built = {name: value for name, value in view.config.items() if name not in ("search", "default_reranker")}
    ways = [
        {
            "way": one.way.name,
            "is_default": one.way.default,
            "configuration": {
                "version": __version__,
                "generation": view.generation_id,
                "collection": built,
                "search": {**_told(one.way), "interpret": judged.interprets(one.way.query)},
            },
            "measures": {**{name: one.report.mean(name) for name in MEASURES}, "p50_ms": one.p50_ms},
            "scores": {query_id: scores[DECISIVE] for query_id, scores in one.report.per_query.items()},
        }
        for one in measured
    ]
    with runtime.ledger.write() as tx:
        return evaluations.keep(
            tx, kind=kind, subject=subject, fingerprint=judged.fingerprint, collection=collection, ways=ways
        )


def changes(rows: Sequence[Evaluated]) -> Iterator[tuple[Evaluated, Change | None]]:
    """Yield each row, in the given order (newest first), with its change against the previous comparable row.

    A default is compared with the default, another way with the same way. The change is None if no earlier row asked
    the same judged queries, or mostly the same known items.
    """
    for place, row in enumerate(rows):
        older = (
            one for one in rows[place + 1 :] if one.run != row.run and _series(one) == _series(row) and one.at <= row.at
        )
        yield row, next((change for one in older if (change := change_of(row, one)) is not None), None)


def change_of(row: Evaluated, before: Evaluated) -> Change | None:
    shared = [query_id for query_id in row.scores if query_id in before.scores]
    if not shared or len(shared) < SHARED * min(len(row.scores), len(before.scores)):
        return None
    ours, theirs = ([one.scores[query_id] for query_id in shared] for one in (row, before))
    old, new = _flat(before.configuration), _flat(row.configuration)
    return Change(
        before=before,
        difference=sum(ours) / len(shared) - sum(theirs) / len(shared),
        p=paired_p(ours, theirs),
        queries=len(shared),
        configured={name: (old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)},
    )


def _series(row: Evaluated) -> tuple[str, str, str, str]:
    """Return the key of the series that a row belongs to.

    For judged queries it contains their fingerprint: queries and judgements can be edited, and datasets use the same
    ids. The id of a known item is a hash of its content, so known items need no fingerprint.
    """
    asked = row.fingerprint if row.kind == "judged" else ""
    return row.kind, row.subject, asked, "" if row.is_default else row.way


def _told(way: Way) -> dict[str, Any]:
    """Return the parts of a plan that determine the hits and their order."""
    plan = way.plan
    return {
        "mode": plan.mode,
        "fusion": plan.fusion,
        "dense_weight": plan.dense_weight,
        "rerankers": [{"plugin": one.plugin, "options": one.options} for one in plan.rerankers],
        "rerank_weight": plan.rerank_weight,
        "to_rerank": plan.to_rerank,
        "reranked_for": plan.reranked_for,
        "filter": plan.filter,
    }


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return the values of a nested object by dotted names; lists count as values."""
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{name}.{key}" if name else str(key))
    return found
