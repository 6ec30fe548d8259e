"""Collections, their generations and sources."""

from __future__ import annotations

import uuid
from collections.abc import Collection as Group
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, and_, bindparam, func, insert, select, update

from semantik_pipeline import configurations
from semantik_pipeline.errors import NotFound, UsageError
from semantik_pipeline.ledger.access import api_keys
from semantik_pipeline.ledger.access.document_access import open_to
from semantik_pipeline.ledger.database.bulk import among
from semantik_pipeline.ledger.database.connection import Transaction, insert_for, now, transaction
from semantik_pipeline.ledger.database.questions import Question
from semantik_pipeline.ledger.tables import collections, documents, generations, sources, work

#: Value of ``alias`` in ``generations.build``: the store's alias does not point to this generation's index yet.
ALIAS_OWED = "owed"


@dataclass(frozen=True, kw_only=True)
class Collection:
    """A collection: documents that are searched together, with one configuration."""

    id: int
    name: str
    config: dict[str, Any]
    active_generation: int | None
    trashed_at: float | None = None
    importing_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One build of a collection's index. ``config`` and ``fingerprints`` never change."""

    id: int
    collection_id: int
    collection: str
    state: str
    config: dict[str, Any]
    fingerprints: dict[str, Any]
    index: str
    dimension: int


@dataclass(frozen=True, kw_only=True)
class SearchView:
    """What a search of a collection uses: the index, and the configuration that names its model."""

    collection: str
    generation_id: int
    index: str
    dimension: int
    config: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Source:
    id: int
    collection_id: int
    connector: str
    name: str
    config: dict[str, Any]
    paused: str | None
    trashed_at: float | None = None


def find_collection(tx: Transaction, name: str, *, trashed: bool = False) -> Collection | None:
    """Return the collection with this name, or None.

    Raises NotFound if it is in the trash and UsageError if it is being imported, unless ``trashed`` is set.
    """
    columns = [collections.c[field] for field in Collection.__dataclass_fields__]
    row = tx.execute(select(*columns).where(collections.c.name == name)).mappings().first()
    if row is not None and row["importing_at"] is not None and not trashed:
        raise UsageError(f"The collection {name!r} is being imported.", "It is available once its import has finished.")
    if row is not None and row["trashed_at"] is not None and not trashed:
        raise NotFound(
            f"The collection {name!r} is in the trash.",
            f"`semantik collections restore {name}` restores it; its name is free again once it is purged.",
        )
    return Collection(**row) if row else None


def get_collection(tx: Transaction, name: str) -> Collection:
    """Return the collection with this name. Raises NotFound, naming the collections that exist, if there is none."""
    found = find_collection(tx, name)
    if found is None:
        there = select(collections.c.name).where(collections.c.trashed_at.is_(None)).order_by(collections.c.name)
        names = list(tx.execute(there).scalars())
        way_out = "There are no collections yet; `semantik index PATH` creates one."
        raise NotFound(f"There is no collection {name!r}.", way_out, there=names)
    return found


def create_collection(
    tx: Transaction,
    name: str,
    *,
    config: dict[str, Any],
    frozen: dict[str, Any],
    fingerprints: dict[str, Any],
    dimension: int,
    plugins: dict[str, str] | None = None,
    hidden: bool = False,
) -> Collection | None:
    """Create a collection with its first generation, which is active at once. Returns None if the name is taken.

    ``hidden``: the collection is being imported. Until :func:`exports.reveal` nobody sees it and no key opens it.
    """
    unseen = {"trashed_at": now(), "importing_at": now()} if hidden else {}
    row = insert_for(tx, collections).values(name=name, config=config, created_at=now(), **unseen)
    made = row.on_conflict_do_nothing(index_elements=["name"]).returning(collections.c.id)
    collection_id = tx.execute(made).scalar_one_or_none()
    if collection_id is None:
        return None
    if not hidden:
        api_keys.bind(tx, collection_id, name)
    generation_id = tx.execute(
        insert(generations)
        .values(
            collection_id=collection_id,
            state="active",
            config=frozen,
            fingerprints=fingerprints,
            index_name=index_name(tx, collection_id, name),
            dimension=dimension,
            wanted=config,
            plugins=plugins,
            build={"alias": ALIAS_OWED},
            created_at=now(),
            activated_at=None if hidden else now(),
        )
        .returning(generations.c.id)
    ).scalar_one()
    tx.execute(update(collections).where(collections.c.id == collection_id).values(active_generation=generation_id))
    return find_collection(tx, name, trashed=True)


def index_name(tx: Transaction, collection_id: int, name: str) -> str:
    """Return a name for a new generation's index that no other generation has or had."""
    mine = select(func.count()).where(generations.c.collection_id == collection_id)
    number = max(
        tx.execute(select(func.max(generations.c.id))).scalar_one_or_none() or 0, tx.execute(mine).scalar_one()
    )
    return f"c{collection_id}-{_slug(name)}-{number + 1}-{uuid.uuid4().hex[:6]}"


def _slug(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())[:40]


_GENERATION = select(
    generations.c.id,
    generations.c.collection_id,
    collections.c.name.label("collection"),
    generations.c.state,
    generations.c.config,
    generations.c.fingerprints,
    generations.c.index_name.label("index"),
    generations.c.dimension,
).join_from(generations, collections, generations.c.collection_id == collections.c.id)


def get_generation(tx: Transaction, generation_id: int) -> Generation:
    return Generation(**tx.execute(_GENERATION.where(generations.c.id == generation_id)).mappings().one())


def list_generations(tx: Transaction, collection_id: int | None = None) -> list[Generation]:
    """Return the generations that are not retired, of one collection or of all, ordered by id. Trashed collections are
    left out."""
    which = and_(generations.c.state != "retired", collections.c.trashed_at.is_(None))
    if collection_id is not None:
        which = and_(which, generations.c.collection_id == collection_id)
    return [Generation(**row) for row in tx.execute(_GENERATION.where(which).order_by(generations.c.id)).mappings()]


def generation_ids(tx: Transaction) -> tuple[list[int], list[int]]:
    """Return (ids of live generations, ids of retired generations), of all collections.

    Trashed collections and those being imported are included: their units are claimed like any other.
    """
    rows = tx.execute(select(generations.c.id, generations.c.state).order_by(generations.c.id)).all()
    live, retired = ([row.id for row in rows if (row.state == "retired") is gone] for gone in (False, True))
    return live, retired


def shown_generation_ids(tx: Transaction) -> list[int]:
    """Return the ids of generations that are not retired, of collections that are not in the trash."""
    there = collections.c.id == generations.c.collection_id
    which = and_(generations.c.state != "retired", collections.c.trashed_at.is_(None))
    query = select(generations.c.id).join_from(generations, collections, there).where(which)
    return list(tx.execute(query.order_by(generations.c.id)).scalars())


_SOURCE = [sources.c[field] for field in Source.__dataclass_fields__]


def find_source(tx: Transaction, collection_id: int, connector: str, name: str) -> Source | None:
    which = and_(sources.c.collection_id == collection_id, sources.c.connector == connector, sources.c.name == name)
    row = tx.execute(select(*_SOURCE).where(which)).mappings().first()
    return Source(**row) if row else None


def put_source(tx: Transaction, collection_id: int, connector: str, name: str, config: dict[str, Any]) -> int:
    """Create the source, or give the existing source this configuration. Returns its id."""
    found = find_source(tx, collection_id, connector, name)
    if found is not None:
        if found.config != config:
            tx.execute(update(sources).where(sources.c.id == found.id).values(config=config))
        return found.id
    row = _new_source(tx, collection_id, connector, name, config)
    # another transaction may have created it meanwhile; the last configuration wins
    made = row.on_conflict_do_update(index_elements=_NAMED, set_={"config": row.excluded.config})
    return tx.execute(made.returning(sources.c.id)).scalar_one()


def add_source(tx: Transaction, collection_id: int, connector: str, name: str, config: dict[str, Any]) -> int | None:
    """Create the source and return its id. Returns None and changes nothing if it exists, even if just created by
    another transaction."""
    made = _new_source(tx, collection_id, connector, name, config).on_conflict_do_nothing(index_elements=_NAMED)
    return tx.execute(made.returning(sources.c.id)).scalar_one_or_none()


#: Columns that identify a source: their combination is unique.
_NAMED = ["collection_id", "connector", "name"]


def _new_source(tx: Transaction, collection_id: int, connector: str, name: str, config: dict[str, Any]) -> Any:
    return insert_for(tx, sources).values(
        collection_id=collection_id,
        connector=connector,
        name=name,
        config=config,
        weight=1.0,
        next_turn=0.0,
        created_at=now(),
    )


_VIEW = Question(
    select(
        generations.c.id,
        generations.c.index_name,
        generations.c.dimension,
        generations.c.config,
        collections.c.config.label("at_once"),
    )
    .join_from(collections, generations, collections.c.active_generation == generations.c.id)
    .where(
        collections.c.name == bindparam("name"),
        collections.c.trashed_at.is_(None),
        collections.c.importing_at.is_(None),
    )
)


def search_view(engine: Engine, name: str) -> SearchView:
    """Return what a search of this collection uses.

    Raises NotFound if the collection doesn't exist or is in the trash, and UsageError if it is being imported.
    """
    found = _VIEW.asked(engine, name=name)
    if not found:
        with transaction(engine, writes=False) as tx:
            get_collection(tx, name)  # raises the error that explains it
        return search_view(engine, name)  # no error: the collection was created since the first query
    generation_id, index, dimension, config, at_once = found[0]
    return SearchView(
        collection=name,
        generation_id=generation_id,
        index=index,
        dimension=dimension,
        config={**config, **{part: at_once.get(part) for part in configurations.AT_ONCE}},
    )


_VISIBLE = (
    select(work.c.document_id, work.c.indexed_epoch)
    .join_from(work, documents, work.c.document_id == documents.c.id)
    .where(
        work.c.generation_id == bindparam("generation"),
        among(work.c.document_id, "ids"),
        work.c.indexed_epoch.is_not(None),
        work.c.goal == "indexed",
        documents.c.deleted_at.is_(None),
    )
)
_VISIBLE_TO_ALL = Question(_VISIBLE)


def visible(
    tx: Transaction, generation_id: int, document_ids: Group[int], principals: Group[str] | None = None
) -> dict[int, int]:
    """Return document id -> the epoch from which its points may be shown.

    Left out: deleted documents, documents that were never indexed, and documents that are not open to these principals
    (None: all are open).
    """
    query = _VISIBLE
    if principals is not None:
        query = query.join(sources, documents.c.source_id == sources.c.id).where(open_to(tx, principals))
    rows = tx.execute(query, {"generation": generation_id, "ids": sorted(document_ids)})
    return {row[0]: row[1] for row in rows.all()}


def visible_to_all(engine: Engine, generation_id: int, document_ids: Group[int]) -> dict[int, int]:
    """Like :func:`visible` for a caller who may see all documents; faster, because it is a :class:`Question`."""
    return dict(_VISIBLE_TO_ALL.asked(engine, generation=generation_id, ids=sorted(document_ids)))


def lock_config(tx: Transaction, collection_id: int) -> dict[str, Any] | None:
    """Lock the collection and return its configuration, or None if it is deleted or in the trash."""
    mine = and_(collections.c.id == collection_id, collections.c.trashed_at.is_(None))
    return tx.execute(select(collections.c.config).where(mine).with_for_update()).scalar_one_or_none()


def change_collection(tx: Transaction, collection_id: int, **values: Any) -> None:
    """Set columns of the collection. On a rename, API keys that store the old name get the collection's id instead."""
    mine = collections.c.id == collection_id
    before = tx.execute(select(collections.c.name).where(mine).with_for_update()).scalar_one_or_none()
    tx.execute(update(collections).where(mine).values(**values))
    if "name" in values and before is not None:
        api_keys.bind(tx, collection_id, before)
