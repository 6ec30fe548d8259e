"""Sources for operators: find, list, count, change, pause and resume them, with the state of their syncs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import and_, case, func, or_, select, true, tuple_, update

from semantik_pipeline.errors import CredentialsRejected, MassDeletion, NotFound, UsageError
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.ingestion.timetable import next_time
from semantik_pipeline.ledger.queue import waiting_schedules
from semantik_pipeline.ledger.tables import collections, documents, sources, work

#: The paused operation that delays the scheduled sync of a source that is due: see queue/waiting_schedules.py.
_WAITS_FOR = case(
    (
        and_(sources.c.operation_id.is_(None), sources.c.paused.is_(None), sources.c.due_at <= now()),
        waiting_schedules.holder(),
    )
)

#: removing | paused | running | retrying (a slice failed and is tried again) | waiting (a sync was requested, but no
#: slice is running; or its schedule waits for a paused operation) | due | failing | idle.
_STATE = case(
    (sources.c.removed_at.is_not(None), "removing"),
    (sources.c.paused.is_not(None), "paused"),
    (and_(sources.c.operation_id.is_not(None), sources.c.lease_token.is_not(None)), "running"),
    (and_(sources.c.operation_id.is_not(None), sources.c.attempts > 0), "retrying"),
    (sources.c.operation_id.is_not(None), "waiting"),
    (_WAITS_FOR.is_not(None), "waiting"),
    (sources.c.due_at <= now(), "due"),
    (sources.c.faults > 0, "failing"),
    else_="idle",
)

#: Errors after which a source stays paused until an operator decides how to continue.
_ASKS = (CredentialsRejected.__name__, MassDeletion.__name__)

#: The states that :func:`count_states` counts, in display order.
STATES = ("idle", "due", "waiting", "running", "failing", "paused", "needs_attention", "removing")

_SOURCE = select(
    sources.c.id,
    sources.c.name,
    sources.c.connector,
    collections.c.name.label("collection"),
    sources.c.config,
    sources.c.schedule,
    sources.c.weight,
    sources.c.principals,
    sources.c.due_at.label("next_sync_at"),
    sources.c.faults.label("consecutive_failures"),
    sources.c.paused.label("paused_reason"),
    sources.c.removed_at,
    sources.c.operation_id,
    func.coalesce(sources.c.held_by, _WAITS_FOR).label("held_by"),
    sources.c.attempts,
    sources.c.not_before,
    sources.c.error.label("last_error"),
    sources.c.problems,
    sources.c.synced_at.label("last_sync_at"),
    sources.c.created_at,
    now().label("now"),
    _STATE.label("state"),
).join_from(sources, collections, sources.c.collection_id == collections.c.id)

#: Condition: neither the source nor its collection is in the trash. A source that is still moving there is shown.
_SHOWN = and_(
    collections.c.trashed_at.is_(None), or_(sources.c.trashed_at.is_(None), sources.c.operation_id.is_not(None))
)


def list_sources(tx: Transaction, *, collection: str | None = None) -> list[dict[str, Any]]:
    """All sources, ordered by collection and name, each with its ``state`` and its number of documents."""
    query = _SOURCE.where(_SHOWN).order_by(collections.c.name, sources.c.name, sources.c.id)
    if collection is not None:
        query = query.where(collections.c.name == collection)
    return _described(tx, query)


def find_source(tx: Transaction, name: str, *, collection: str | None = None) -> dict[str, Any]:
    """The source with this id or name, or with a name that ends with ``/name``. Raises NotFound for none, UsageError
    for several."""
    exact = sources.c.name == name
    if name.isdecimal() and int(name) < 2**63:
        exact = or_(exact, sources.c.id == int(name))
    for which in (exact, sources.c.name.endswith(f"/{name}", autoescape=True)):
        query = _SOURCE.where(which, _SHOWN)
        if collection is not None:
            query = query.where(collections.c.name == collection)
        rows = _described(tx, query.order_by(sources.c.id))
        if len(rows) == 1:
            return rows[0]
        if rows:
            some = ", ".join(f"{row['id']} ({row['connector']}, collection {row['collection']})" for row in rows[:5])
            raise UsageError(f"{name!r} names {len(rows)} sources: {some}.", "Give the id of one.")
    raise NotFound(f"There is no source {name!r}.", "`semantik sources list` shows ids and names.")


def get_source(tx: Transaction, source_id: int, *, among: Collection[str] | None = None) -> dict[str, Any]:
    """The source with this id. Raises NotFound if there is none in the collections ``among`` (None: in all)."""
    here = true() if among is None else collections.c.name.in_(sorted(among))
    for row in _described(tx, _SOURCE.where(sources.c.id == source_id, _SHOWN, here)):
        return row
    raise NotFound(f"There is no source {source_id}.", "`semantik sources list` shows all sources.")


def page(
    tx: Transaction,
    *,
    limit: int,
    among: Collection[str] | None = None,
    after: tuple[str, str, int] | None = None,
) -> list[dict[str, Any]]:
    """At most ``limit`` sources of the collections ``among`` (None: all), in the form and order of
    :func:`list_sources`. The page begins after the source with the collection, name and id ``after``."""
    place = tuple_(collections.c.name, sources.c.name, sources.c.id)
    query = _SOURCE.where(_SHOWN).order_by(collections.c.name, sources.c.name, sources.c.id).limit(limit)
    if among is not None:
        query = query.where(collections.c.name.in_(sorted(among)))
    if after is not None:
        query = query.where(place > tuple_(*after))
    return _described(tx, query)


def _described(tx: Transaction, query: Any) -> list[dict[str, Any]]:
    rows = [dict(row) for row in tx.execute(query).mappings()]
    counts = _documents(tx, [row["id"] for row in rows])
    for row in rows:
        row["documents"], row["quarantined"] = counts.get(row["id"], (0, 0))
        row["retry_at"] = row["not_before"] if row["state"] == "retrying" else None
        if row["last_error"]:
            kept = {name: row["last_error"].get(name) for name in ("type", "message", "at")}
            row["last_error"] = kept | ({"blocked": True} if row["last_error"].get("blocked") else {})
        del row["not_before"]
    return rows


def count_states(tx: Transaction) -> dict[str, int]:
    """The number of sources in each of :data:`STATES`.

    ``due``: a sync is scheduled or requested, and may run now. ``waiting``: the current sync is delayed because the
    stages after it are behind. ``failing``: the last sync, or the last slice of the current one, failed; also while it
    is tried again. ``paused``: by an operator, or with its operation. ``needs_attention``: paused by an error until an
    operator decides how to continue (refused credentials, a mass deletion).
    """
    asks = and_(_STATE == "paused", sources.c.error["type"].as_string().in_(_ASKS))
    state = case(
        (asks, "needs_attention"),
        (_STATE.in_(("paused", "removing")), _STATE),
        (func.coalesce(sources.c.held_by, _WAITS_FOR).is_not(None), "paused"),
        (or_(sources.c.faults > 0, sources.c.attempts > 0), "failing"),
        (and_(_STATE == "waiting", sources.c.not_before <= now()), "due"),
        else_=_STATE,
    )
    shown = select(state.label("state")).join_from(sources, collections, sources.c.collection_id == collections.c.id)
    each = shown.where(_SHOWN).subquery()
    found = dict(map(tuple, tx.execute(select(each.c.state, func.count()).group_by(each.c.state)).all()))
    return {name: found.get(name, 0) for name in STATES}


def _documents(tx: Transaction, source_ids: list[int]) -> dict[int, tuple[int, int]]:
    """source id -> (number of live documents, number of these in quarantine)."""
    quarantined = work.c.stage == "quarantined"
    active = and_(work.c.document_id == documents.c.id, work.c.generation_id == collections.c.active_generation)
    query = (
        select(documents.c.source_id, func.count(), func.sum(case((quarantined, 1), else_=0)))
        .join(collections, collections.c.id == documents.c.collection_id)
        .outerjoin(work, active)
        .where(documents.c.source_id.in_(source_ids), documents.c.deleted_at.is_(None))
        .group_by(documents.c.source_id)
    )
    return {row[0]: (row[1], int(row[2] or 0)) for row in tx.execute(query)} if source_ids else {}


def lock_source(tx: Transaction, source_id: int) -> dict[str, Any]:
    """Lock a source. Returns ``id``, ``collection_id``, ``principals``, ``operation`` (id of the current one, or None),
    ``held_by`` (id of that operation if it is paused) and ``removed_at``."""
    operation = sources.c.operation_id.label("operation")
    where = (sources.c.id, sources.c.collection_id, sources.c.held_by, sources.c.removed_at)
    columns = (*where, sources.c.principals, operation)
    row = tx.execute(select(*columns).where(sources.c.id == source_id).with_for_update()).mappings().first()
    if row is None:
        raise NotFound(f"The source {source_id} no longer exists.", "`semantik sources list` shows all sources.")
    return dict(row)


def change_source(tx: Transaction, source_id: int, **values: Any) -> None:
    """Set columns that an operator may change: ``name``, ``config``, ``weight``, ``schedule``, ``principals``. A new
    schedule applies from now on."""
    row = tx.execute(select(sources.c.created_at, now()).where(sources.c.id == source_id).with_for_update()).one()
    if "schedule" in values:
        values["due_at"] = next_time(values["schedule"], row[1], source_id, row[0])
    if values:
        tx.execute(update(sources).where(sources.c.id == source_id).values(**values))


def make_due(tx: Transaction, source_id: int) -> None:
    """Make the source's next scheduled sync due now."""
    tx.execute(update(sources).where(sources.c.id == source_id).values(due_at=now()))


def pause(tx: Transaction, source_id: int, reason: str) -> None:
    """Pause the source: no sync begins, and the current one gets no further slice."""
    tx.execute(update(sources).where(sources.c.id == source_id).values(paused=reason))


def resume(tx: Transaction, source_id: int) -> None:
    """Resume the source's syncs. Clears earlier failures; the schedule continues from now."""
    columns = (sources.c.schedule, sources.c.created_at, now())
    row = tx.execute(select(*columns).where(sources.c.id == source_id).with_for_update()).one()
    due_at = next_time(row[0], row[2], source_id, row[1])
    values = {"paused": None, "faults": 0, "error": None, "not_before": 0, "attempts": 0, "due_at": due_at}
    tx.execute(update(sources).where(sources.c.id == source_id).values(**values))


def allow_deletions(tx: Transaction, source_id: int) -> None:
    """Allow the current sync to delete any number of documents, even most of the source."""
    tx.execute(update(sources).where(sources.c.id == source_id).values(allow_deletions=True))
