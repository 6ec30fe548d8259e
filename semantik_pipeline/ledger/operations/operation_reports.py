"""Reports on operations: find and list them, describe their state, and what they left unfinished."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, union

from semantik_pipeline.errors import NotFound
from semantik_pipeline.ledger.catalog.lineage import living
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.operations import blocked_operations, reruns
from semantik_pipeline.ledger.operations.lifecycle import TAKING_UP
from semantik_pipeline.ledger.operations.outcomes import unread
from semantik_pipeline.ledger.operations.reruns import Rerun
from semantik_pipeline.ledger.queue.work import STAGES
from semantik_pipeline.ledger.queue.workers import WorkerRow
from semantik_pipeline.ledger.tables import (
    collections,
    documents,
    operation_items,
    operation_sources,
    operations,
    sources,
    work,
)


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """What an operation left unfinished.

    ``quarantined``: number of its documents in quarantine. ``parked``: number of documents that it parked when it was
    cancelled. ``sources``: ids of sources that were not read completely. ``rerun``: the rest of a rerun that has not
    looked at all documents.
    """

    quarantined: int
    parked: int
    sources: list[int]
    rerun: Rerun | None

    def __bool__(self) -> bool:
        return bool(self.quarantined or self.parked or self.sources or self.rerun)


def find(tx: Transaction, name: str, *, among: Collection[str] | None = None) -> int:
    """The id of an operation, from its printed name (``sync-12``) or its number.

    Raises NotFound if there is none in the collections ``among`` (None: in all).
    """
    said = re.fullmatch(r"(?:([a-z]+)-)?(\d{1,18})", name.strip().lower())
    query = select(operations.c.id, operations.c.kind)
    if among is not None:
        query = query.join(collections, collections.c.id == operations.c.collection_id)
        query = query.where(collections.c.name.in_(sorted(among)))
    row = tx.execute(query.where(operations.c.id == int(said[2]))).first() if said else None
    if row is None or (said and said[1] and said[1] != row.kind):
        hint = f"{row.id} is {row.kind}-{row.id}." if row else "`semantik operations list --all` shows them."
        raise NotFound(f"There is no operation {name!r}.", hint)
    return row.id


def name(tx: Transaction, operation_id: int) -> str:
    """The printed name of an operation, for example ``sync-12``."""
    kind = tx.execute(select(operations.c.kind).where(operations.c.id == operation_id)).scalar_one()
    return f"{kind}-{operation_id}"


def collection_id(tx: Transaction, operation_id: int) -> int:
    return tx.execute(select(operations.c.collection_id).where(operations.c.id == operation_id)).scalar_one()


_ROW = select(
    operations.c.id,
    operations.c.kind,
    operations.c.state,
    operations.c.outcome,
    operations.c.result,
    operations.c.created_at,
    operations.c.finished_at,
    collections.c.name.label("collection"),
    (func.coalesce(operations.c.finished_at, now()) - operations.c.created_at).label("seconds"),
).join(collections, collections.c.id == operations.c.collection_id)


def list_operations(
    tx: Transaction, *, workers: Sequence[WorkerRow] | None, finished: int | None
) -> list[dict[str, Any]]:
    """All unfinished operations and the last ``finished`` ones that have ended (None: all of them), newest first.

    ``workers`` as in :func:`blocked_operations.reason`.
    """
    left = tx.execute(_ROW.where(operations.c.state != "finished").order_by(operations.c.id.desc())).all()
    ended = tx.execute(
        _ROW.where(operations.c.state == "finished").order_by(operations.c.id.desc()).limit(finished)
    ).all()
    rows = sorted([*left, *ended], key=lambda row: row.id, reverse=True)
    parts = _parts(tx, [row.id for row in rows])
    return [_described(tx, row, parts.get(row.id, []), workers) for row in rows]


def page(
    tx: Transaction,
    *,
    workers: Sequence[WorkerRow] | None,
    limit: int,
    before: int | None = None,
    collections_: Collection[str] | None = None,
    kind: str | None = None,
    ended: bool | None = None,
) -> list[dict[str, Any]]:
    """Up to ``limit`` operations with an id below ``before``, newest first.

    ``collections_``, ``kind`` and ``ended`` select operations; None selects all.
    """
    query = _ROW.order_by(operations.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(operations.c.id < before)
    if collections_ is not None:
        query = query.where(collections.c.name.in_(sorted(collections_)))
    if kind is not None:
        query = query.where(operations.c.kind == kind)
    if ended is not None:
        query = query.where((operations.c.state == "finished") if ended else (operations.c.state != "finished"))
    rows = tx.execute(query).all()
    parts = _parts(tx, [row.id for row in rows])
    return [_described(tx, row, parts.get(row.id, []), workers) for row in rows]


def show_operation(tx: Transaction, operation_id: int, *, workers: Sequence[WorkerRow] | None) -> dict[str, Any]:
    """One operation, in the form of :func:`list_operations`."""
    row = tx.execute(_ROW.where(operations.c.id == operation_id)).one()
    return _described(tx, row, _parts(tx, [operation_id]).get(operation_id, []), workers)


def _parts(tx: Transaction, operation_ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    query = (
        select(
            operation_sources.c.operation_id,
            sources.c.name.label("source"),
            sources.c.connector,
            operation_sources.c.state,
            operation_sources.c.error,
        )
        .join(sources, sources.c.id == operation_sources.c.source_id)
        .where(operation_sources.c.operation_id.in_(operation_ids))
        .order_by(operation_sources.c.source_id)
    )
    found: dict[int, list[dict[str, Any]]] = {}
    for row in tx.execute(query).mappings():
        part = dict(row)
        found.setdefault(part.pop("operation_id"), []).append(part)
    return found


def _described(
    tx: Transaction, row: Any, parts: list[dict[str, Any]], workers: Sequence[WorkerRow] | None
) -> dict[str, Any]:
    ended = row.state == "finished"
    state, reason = row.state, None
    if not ended and row.outcome == "cancelled":
        state = "cancelling"
    elif row.state == "running":
        reason = blocked_operations.reason(tx, row.id, workers)
        state = "blocked" if reason else state
    items = select(func.count()).where(operation_items.c.operation_id == row.id)
    return {
        "operation": f"{row.kind}-{row.id}",
        "id": row.id,
        "kind": row.kind,
        "state": state,
        "reason": reason,
        "outcome": row.outcome if ended else None,
        "collection": row.collection,
        "sources": parts,
        "documents": tx.execute(items).scalar_one(),
        "result": row.result if ended else None,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
        "seconds": round(row.seconds, 1),
    }


def unfinished(tx: Transaction, operation_id: int) -> Unfinished:
    """What an ended operation left for ``operations retry`` to run again (see ``ledger/ingestion/unfinished.py``)."""
    bare = quarantined(tx, operation_id, documents.c.source_id).where(documents.c.content_hash.is_(None))
    deletes = tx.execute(select(operations.c.kind).where(operations.c.id == operation_id)).scalar_one() == "delete"
    wanted = {part.source_id for part in _runs(tx, operation_id) if part.state in ("failed", "cancelled")}
    wanted = set() if deletes else wanted  # removing a source does not include reading it
    wanted |= set(tx.execute(bare.distinct()).scalars()) | _read_in_part(tx, operation_id)
    idle = and_(sources.c.id.in_(wanted), sources.c.removed_at.is_(None), sources.c.operation_id.is_(None))
    chain = list(_taken_up_by(tx, operation_id))
    return Unfinished(
        quarantined=_different(tx, [quarantined(tx, one, work.c.document_id) for one in chain]),
        parked=_different(tx, [parked(one, work.c.document_id) for one in chain]),
        sources=list(tx.execute(select(sources.c.id).where(idle).order_by(sources.c.id)).scalars()),
        rerun=reruns.given_up(tx, operation_id),
    )


def _read_in_part(tx: Transaction, operation_id: int) -> set[int]:
    """Ids of sources that the operation read, and of which something still can't be read."""
    mine = [part.source_id for part in _runs(tx, operation_id) if part.run is not None]
    told = tx.execute(select(sources.c.id, sources.c.problems).where(sources.c.id.in_(mine)))
    found = {source_id for source_id, problems in told if problems}
    result = tx.execute(select(operations.c.result).where(operations.c.id == operation_id)).scalar_one()
    if (result or {}).get("unread"):
        owing = select(documents.c.source_id).where(documents.c.source_id.in_(mine), unread())
        found |= set(tx.execute(owing.distinct()).scalars())
    return found


def taking_up(tx: Transaction, operation_id: int | None) -> int | None:
    """The operation whose documents this one has not taken up completely; None if there is none.

    If this one is cancelled, it will not take up the rest.
    """
    detail = tx.execute(select(operations.c.detail).where(operations.c.id == operation_id)).scalar_one_or_none()
    return (detail or {}).get(TAKING_UP, {}).get("of")


def _taken_up_by(tx: Transaction, operation_id: int) -> Iterator[int]:
    """This operation, and those whose documents it had not taken up completely when it was cancelled."""
    following: int | None = operation_id
    while following is not None:
        yield following
        outcome = tx.execute(select(operations.c.outcome).where(operations.c.id == following)).scalar_one_or_none()
        following = taking_up(tx, following) if outcome == "cancelled" else None


def _different(tx: Transaction, queries: Sequence[Select[Any]]) -> int:
    """The number of distinct documents that these queries return."""
    return tx.execute(select(func.count()).select_from(union(*queries).subquery())).scalar_one()


def _runs(tx: Transaction, operation_id: int) -> Sequence[Any]:
    return tx.execute(select(operation_sources).where(operation_sources.c.operation_id == operation_id)).all()


def quarantined(tx: Transaction, operation_id: int, *columns: ColumnElement[Any]) -> Select[Any]:
    """A query for these columns of units in quarantine, of documents that the operation owns or its runs named."""
    item = select(operation_items.c.document_id).where(
        operation_items.c.operation_id == operation_id,
        operation_items.c.document_id == work.c.document_id,
        operation_items.c.revision == work.c.revision,
    )
    named = or_(
        *(
            and_(documents.c.source_id == part.source_id, documents.c.seen_run >= part.run)
            for part in _runs(tx, operation_id)
            if part.run is not None
        ),
        item.exists(),
    )
    return (
        select(*columns)
        .select_from(documents.join(work, work.c.document_id == documents.c.id))
        .where(work.c.stage == "quarantined", living(tx), documents.c.deleted_at.is_(None), named)
    )


def parked(operation_id: int, *columns: ColumnElement[Any]) -> Select[Any]:
    """A query for these columns of unfinished units that the operation holds, or has parked when it was cancelled."""
    mine = and_(
        operation_items.c.operation_id == operation_id,
        operation_items.c.document_id == work.c.document_id,
        operation_items.c.revision == work.c.revision,
    )
    query = select(*columns).select_from(operation_items.join(work, mine))
    return query.where(work.c.held_by == operation_id, work.c.stage.in_(STAGES))
