"""How an operation ends: its counts, and the outcome that follows. It succeeds only if no document is missing.

The documents of an operation are its *items* (new, changed, deleted, resumed, retried ...), and the documents that its
runs named and found unchanged. The next run of a source overwrites which documents were seen, so the counts of the
unchanged ones are stored before it begins (:func:`keep_seen`).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select, update

from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.queue.work import STAGES
from semantik_pipeline.ledger.tables import (
    documents,
    generations,
    operation_items,
    operation_sources,
    operations,
    sources,
    work,
)
from semantik_pipeline.ledger.tables.ingestion import NOT_READ

#: Key in the ``detail`` of an operation that could not continue although none of its sources failed: the reason.
FAILURE = "failure"

#: The kind of items whose points are written again for new principals.
PERMITTED = "permitted"


def outcome(tx: Transaction, operation_id: int, counted: dict[str, Any]) -> str:
    """The outcome of an operation that has these counts.

    ``cancelled``: it was cancelled, or another operation took over one of its sources. ``failed``: a source could not
    be read to its end, or the operation could not continue. ``degraded``: a document is in quarantine, in any
    generation, or a part of a source could not be read. ``succeeded``: anything else.
    """
    given = tx.execute(select(operations.c.outcome).where(operations.c.id == operation_id)).scalar_one()
    if given is not None:
        return given
    if counted["errors"]:
        return "failed"
    if counted["taken_over"]:
        return "cancelled"
    lacking = counted["quarantined"] or counted["unread"] or problems(tx, operation_id)
    return "degraded" if lacking else "succeeded"


def counts(tx: Transaction, operation_id: int) -> dict[str, Any]:
    """Numbers of documents and chunks of an operation.

    ``documents``: ``seen`` = new + changed + unchanged + skipped. Its ``quarantined`` counts documents among these. A
    sync has seen the documents that its runs named, so these counts add up to what its connectors emitted. Any other
    operation (a retry, a restore, a push, a repair) has also seen all of its items, even if it reads no source, or if
    its runs did not name them.

    ``superseded``: items of which another operation has a newer revision. ``cancelled``: documents that it parked;
    their chunks are not counted. ``unread``: documents that their sources could not read; their stored state stays.
    ``quarantined`` (at the top level): all documents in quarantine, also those that the operation took over and that no
    source named. It decides the outcome. ``taken_over`` and ``errors``: messages.
    """
    total: Counter[str] = Counter()
    lost, sync = 0, _is_sync(tx, operation_id)
    for row in _items(tx, operation_id):
        seen = row.named or not sync
        total[row.category] += row.documents if seen or row.category == "deleted" else 0
        total["quarantined"] += row.quarantined if seen else 0
        lost += row.quarantined
        for name in ("superseded", "cancelled", "unread"):
            total[name] += getattr(row, name)
        if seen:
            total["seen"] += row.documents if row.category != "deleted" else 0
            total["chunks"] += row.chunks
            total["embedded"] += row.embedded
    for untouched in _bystanders(tx, operation_id):
        total.update(untouched)
        total["seen"] += untouched["unchanged"] + untouched["skipped"]
        lost += untouched["quarantined"]
    kinds = ("seen", "new", "changed", "unchanged", "deleted", "skipped", "quarantined")
    return {
        "documents": {name: total[name] for name in kinds},
        "chunks": {
            "total": total["chunks"],
            "embedded": total["embedded"],
            "reused": total["chunks"] - total["embedded"],
        },
        "superseded": total["superseded"],
        "cancelled": total["cancelled"],
        "unread": total["unread"],
        "quarantined": lost,
        "taken_over": _parts(tx, operation_id, "cancelled"),
        "errors": source_errors(tx, operation_id),
    }


def _is_sync(tx: Transaction, operation_id: int) -> bool:
    return tx.execute(select(operations.c.kind).where(operations.c.id == operation_id)).scalar_one() == "sync"


def _items(tx: Transaction, operation_id: int) -> Any:
    """Items counted by their result, and by whether the operation's run of their source ``named`` them.

    Items that a newer revision has superseded are counted by their first kind.
    """
    current = work.c.revision == operation_items.c.revision
    kind = operation_items.c.kind
    gone = case((current, documents.c.deleted_at.is_not(None)), else_=kind == "deleted")
    category = case(
        (gone, "deleted"),
        (and_(current, work.c.goal == "skipped"), "skipped"),
        (kind == "deleted", "changed"),  # deleted, and then found again within the operation
        (kind.in_(("new", "changed")), kind),
        else_="unchanged",
    )
    run, last = operation_sources.c.run, documents.c.seen_run
    # below -run: a later run reported the document as gone. NULL: the operation has no run of the source.
    named = case((or_(last >= run, last < -run), True), else_=False)
    parked = and_(current, work.c.held_by == operation_id, work.c.stage.in_(STAGES))
    query = (
        select(
            category.label("category"),
            named.label("named"),
            func.count().label("documents"),
            _sum(case((and_(current, _in_quarantine()), 1), else_=0)).label("quarantined"),
            _sum(case((current, 0), else_=1)).label("superseded"),
            _sum(case((parked, 1), else_=0)).label("cancelled"),
            _sum(case((and_(named, current, unread()), 1), else_=0)).label("unread"),
            _sum(case((parked, 0), (current, work.c.chunks), else_=0)).label("chunks"),
            _sum(case((parked | kind.in_(("unchanged", PERMITTED)), 0), (current, work.c.embedded), else_=0)).label(
                "embedded"
            ),
        )
        .select_from(operation_items)
        .join(documents, documents.c.id == operation_items.c.document_id)
        .join(work, _active_work())
        .outerjoin(
            operation_sources,
            and_(
                operation_sources.c.operation_id == operation_id,
                operation_sources.c.source_id == documents.c.source_id,
            ),
        )
        .where(operation_items.c.operation_id == operation_id)
        .group_by(category, named)
    )
    return tx.execute(query).all()


def _bystanders(tx: Transaction, operation_id: int) -> list[dict[str, int]]:
    """Counts for each source, of the documents that the operation's run named and that are not among its items.

    The keys are ``unchanged``, ``skipped``, ``quarantined``, ``unread`` and ``chunks``.
    """
    mine = operation_sources.c.operation_id == operation_id
    runs = tx.execute(select(operation_sources.c.source_id, operation_sources.c.run).where(mine)).all()
    kept = tx.execute(select(operations.c.result).where(operations.c.id == operation_id)).scalar_one() or {}
    before = kept.get("seen", {})
    return [
        before.get(str(source_id)) or _untouched(tx, operation_id, source_id, run)
        for source_id, run in runs
        if run is not None
    ]


def _untouched(tx: Transaction, operation_id: int, source_id: int, run: int) -> dict[str, int]:
    item = select(operation_items.c.document_id).where(
        operation_items.c.operation_id == operation_id, operation_items.c.document_id == documents.c.id
    )
    skipped = case((work.c.goal == "skipped", 1), else_=0)
    query = (
        select(
            func.count().label("documents"),
            _sum(skipped).label("skipped"),
            _sum(case((_in_quarantine(), 1), else_=0)).label("quarantined"),
            _sum(case((unread(), 1), else_=0)).label("unread"),
            _sum(work.c.chunks).label("chunks"),
        )
        .select_from(documents)
        .join(work, _active_work())
        .where(
            documents.c.source_id == source_id,
            documents.c.seen_run == run,
            documents.c.deleted_at.is_(None),
            ~item.exists(),
        )
    )
    row = tx.execute(query).one()
    found = {name: int(getattr(row, name)) for name in ("skipped", "quarantined", "unread", "chunks")}
    return {**found, "unchanged": row.documents - found["skipped"]}


def keep_seen(tx: Transaction, source_id: int, run: int) -> None:
    """Store, before a new run of the source begins, what its run ``run`` saw unchanged and could not read.

    Both go to the ``result`` of each unfinished operation that has this run.
    """
    those = and_(
        operation_sources.c.source_id == source_id,
        operation_sources.c.run == run,
        operations.c.state != "finished",
    )
    unreadable = tx.execute(select(sources.c.problems).where(sources.c.id == source_id)).scalar_one() or []
    query = select(operations.c.id, operations.c.result).join(
        operation_sources, operation_sources.c.operation_id == operations.c.id
    )
    in_order = query.where(those).order_by(operations.c.id).with_for_update(of=operations)
    for operation_id, result in tx.execute(in_order).all():
        kept, key = result or {}, str(source_id)
        seen = {**kept.get("seen", {}), key: _untouched(tx, operation_id, source_id, run)}
        told = {**kept.get("problems", {}), key: unreadable}
        values = {"seen": seen, "problems": told}
        tx.execute(update(operations).where(operations.c.id == operation_id).values(result=values))


def source_errors(tx: Transaction, operation_id: int) -> list[str]:
    """Messages: why sources of the operation could not be read to their end, or why it could not continue."""
    detail = tx.execute(select(operations.c.detail).where(operations.c.id == operation_id)).scalar_one() or {}
    return [*_parts(tx, operation_id, "failed"), *([detail[FAILURE]] if FAILURE in detail else [])]


def problems(tx: Transaction, operation_id: int) -> list[str]:
    """Messages: what the operation's own runs could not read in its sources, regardless of later runs."""
    read = and_(operation_sources.c.operation_id == operation_id, operation_sources.c.run == sources.c.run)
    query = (
        select(sources.c.problems).join(operation_sources, operation_sources.c.source_id == sources.c.id).where(read)
    )
    kept = tx.execute(select(operations.c.result).where(operations.c.id == operation_id)).scalar_one() or {}
    lists = [*tx.execute(query).scalars(), *kept.get("problems", {}).values()]
    return [line for lines in lists for line in lines or []]


def _parts(tx: Transaction, operation_id: int, state: str) -> list[str]:
    """The messages of the operation's sources whose part in it is in this ``state``."""
    ended = and_(operation_sources.c.operation_id == operation_id, operation_sources.c.state == state)
    noted = select(operation_sources.c.error).where(ended, operation_sources.c.error.is_not(None))
    return list(tx.execute(noted.order_by(operation_sources.c.source_id)).scalars())


def _in_quarantine() -> ColumnElement[bool]:
    """Condition: the document is in quarantine in any generation that is not retired, not just in the active one."""
    elsewhere = work.alias()
    lost = (
        select(elsewhere.c.document_id)
        .join(generations, generations.c.id == elsewhere.c.generation_id)
        .where(elsewhere.c.stage == "quarantined", generations.c.state != "retired")
    )
    return documents.c.id.in_(lost)


def unread() -> ColumnElement[bool]:
    """Condition: the document is live, and its source could not read it at the last attempt."""
    return and_(documents.c.change_hint == NOT_READ, documents.c.deleted_at.is_(None))


def _active_work() -> ColumnElement[bool]:
    """Join condition: the document's unit in the active generation of its collection."""
    active = (
        select(generations.c.id)
        .where(generations.c.collection_id == documents.c.collection_id, generations.c.state == "active")
        .scalar_subquery()
    )
    return and_(work.c.document_id == documents.c.id, work.c.generation_id == active)


def _sum(what: Any) -> Any:
    return func.coalesce(func.sum(what), 0)
