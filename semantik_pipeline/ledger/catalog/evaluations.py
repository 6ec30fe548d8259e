"""Stored results of search evaluations: one row for each way of searching that an evaluation run compared.

Only the ids of queries are stored. The text of a query may be a sentence of a document, and a document's text must be
gone once the document is deleted.
"""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, insert, or_, select

from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.tables import evaluations

#: Rows that one transaction of :func:`sweep` removes.
BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """The result of one way of searching.

    ``measures``: name -> mean. ``scores``: query id -> score in the measure that decides, rounded to four digits.
    """

    run: str
    at: float
    kind: str
    subject: str
    fingerprint: str
    collection: str
    configuration: dict[str, Any]
    way: str
    is_default: bool
    measures: dict[str, Any]
    scores: dict[str, float] = field(default_factory=dict)


def keep(
    tx: Transaction,
    *,
    kind: str,
    subject: str,
    fingerprint: str,
    collection: str,
    ways: Sequence[Mapping[str, Any]],
) -> str:
    """Store an evaluation run and return its id.

    Each of ``ways`` has ``way`` (its name), ``is_default``, ``configuration``, ``measures`` and ``scores``.
    """
    run = uuid.uuid4().hex[:12]
    at = tx.execute(select(now())).scalar_one()
    shared = {
        "run": run,
        "at": at,
        "kind": kind,
        "subject": subject,
        "fingerprint": fingerprint,
        "collection": collection,
    }
    rows = [{**shared, **way, "queries": len(way["scores"]), "scores": _packed(way["scores"])} for way in ways]
    tx.execute(insert(evaluations), rows)
    return run


def history(tx: Transaction, name: str | None = None, *, limit: int) -> list[Evaluated]:
    """Return up to ``limit`` rows of the latest runs, newest run first; within a run the default way comes first.

    ``name``: only rows of the dataset or collection with this name.
    """
    columns = [evaluations.c[field] for field in Evaluated.__dataclass_fields__]
    query = select(*columns).order_by(evaluations.c.at.desc(), evaluations.c.run, evaluations.c.is_default.desc())
    query = query.order_by(evaluations.c.id).limit(limit)
    if name is not None:
        query = query.where(or_(evaluations.c.subject == name, evaluations.c.collection == name))
    return [Evaluated(**{**row, "scores": _unpacked(row["scores"])}) for row in tx.execute(query).mappings()]


def sweep(tx: Transaction, *, older_than: float) -> bool:
    """Delete up to BATCH rows older than ``older_than`` seconds. Returns whether more may be left."""
    old = select(evaluations.c.id).where(evaluations.c.at < now() - older_than).order_by(evaluations.c.at).limit(BATCH)
    return tx.execute(delete(evaluations).where(evaluations.c.id.in_(old.scalar_subquery()))).rowcount == BATCH


def _packed(scores: Mapping[str, float]) -> bytes:
    """Return the scores as deflated JSON: about 10 KB for 1,000 queries."""
    rounded = {query_id: round(score, 4) for query_id, score in scores.items()}
    return zlib.compress(json.dumps(rounded, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace"))


def _unpacked(packed: bytes) -> dict[str, float]:
    return json.loads(zlib.decompress(packed))
