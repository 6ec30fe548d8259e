"""What a worker of an older release writes after the ledger was migrated fits the newest tables.

This release continues with it. The older releases are the first one, and the last one before the newest migration.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Column, Connection, Engine, MetaData, Table, UniqueConstraint, insert, select, update

from semantik_pipeline.ledger import Ledger
from semantik_pipeline.ledger.database import schema
from semantik_pipeline.ledger.database.connection import insert_for, open_engine
from semantik_pipeline.ledger.queue.work import claim
from tests.integration.test_migrations import FIRST, reflected, upgrade

#: Tables of a revision that no release of its time wrote.
UNWRITTEN = {"0001": {"workers"}}

#: A column's values are made up from what it holds, but for words that have a meaning.
WORDS = {"stage": "indexed", "goal": "indexed", "state": "finished", "outcome": "succeeded", "role": "reader"}

#: What a claim that ends takes back.
FREED = {"lease_token": None, "lease_until": None, "company": False, "not_before": 0, "blocked": None}


@pytest.fixture(params=["first", "previous"])
def revision(request: pytest.FixtureRequest) -> str:
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()))
    before = ScriptDirectory.from_config(config).get_revision(schema.HEAD).down_revision
    return "0001" if request.param == "first" else str(before)


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    postgres = request.param == "postgres"
    url = request.getfixturevalue("postgres_url") if postgres else f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    engine = open_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def old(engine: Engine, revision: str) -> MetaData:
    """The tables as the older release knows them, with an indexed document and one that is to be embedded."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        upgrade(connection, revision)
        found = reflected(connection)
        for name, rows in FIRST.items():
            connection.execute(insert(found.tables[name]), rows)
    return found


def made_up(column: Column[Any], number: int) -> Any:
    """A column's value in the row of that number: each id is the number, so that rows refer to each other."""
    if column.name in WORDS:
        return WORDS[column.name]
    if isinstance(column.type, JSON):
        return {"n": number}
    values = {str: f"{column.name} {number}", bytes: b"12345678", bool: True}
    kind = column.type.python_type
    return values[kind] if kind in values else kind(number)


def row(table: Table, number: int, *, every: bool) -> dict[str, Any]:
    """With every column of the table, or with those alone that whoever knows the table has to name."""
    named = [one for one in table.c if every or one.primary_key or not (one.nullable or one.server_default is not None)]
    return {one.name: made_up(one, number) for one in named}


def unique(table: Table) -> Iterator[list[str]]:
    """The columns that an INSERT may name for rows that are there already."""
    yield table.primary_key.columns.keys()
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield constraint.columns.keys()


def write_every_table(connection: Connection, old: MetaData, revision: str) -> None:
    """Write a row with the columns that the release knows into every table; all other columns need defaults.

    What was unique must still be unique, by the same columns: the release's own statements name them.
    """
    unwritten = UNWRITTEN.get(revision, set()) | {"alembic_version"}
    tables = [table for table in old.sorted_tables if table.name not in unwritten]
    assert {*FIRST} <= {table.name for table in tables}
    for table in tables:
        for number, every in ((11, False), (12, True)):
            mine = row(table, number, every=every)
            connection.execute(insert(table).values(mine))
            where = [column == mine[column.name] for column in table.primary_key]
            found = connection.execute(select(*(table.c[name] for name in mine)).where(*where)).mappings().one()
            assert dict(found) == mine, table.name
        for columns in unique(table):
            again = row(table, 13, every=True) | {name: mine[name] for name in columns}
            unless = insert_for(connection, table).values(again).on_conflict_do_nothing(index_elements=columns)
            assert connection.execute(unless.returning(*table.primary_key)).first() is None, (table.name, columns)


def claim_as_before(connection: Connection, old: MetaData) -> None:
    """The document that is to be embedded, and the source, as an older release claims them."""
    work, sources = old.tables["work"], old.tables["sources"]
    due = [work.c.document_id == 2, work.c.stage == "embed", ~work.c.suspect]
    for table, where, token in ((work, due, "mine"), (sources, [sources.c.id == 1], "reads")):
        free = select(*table.primary_key).where(*where, table.c.lease_token.is_(None), table.c.not_before <= 5.0)
        connection.execute(free.with_for_update(skip_locked=True)).one()
        connection.execute(update(table).where(*where).values(lease_token=token, lease_until=20.0))
    connection.execute(update(work).where(*due).values(company=True, worker="old", blocked=None, updated_at=2.0))


def finish_as_before(connection: Connection, old: MetaData) -> None:
    """The leases are renewed, progress is saved, the unit moves on and the source's cursor, too. A new revision of the
    other document raises its epoch."""
    work, sources = old.tables["work"], old.tables["sources"]
    mine, reads = work.c.lease_token == "mine", sources.c.lease_token == "reads"
    moved = {"stage": "upsert", **FREED, "attempts": 0, "suspect": False, "error": None}
    for change in (
        update(work).where(mine).values(lease_until=40.0),
        update(work).where(mine).values(attempts=0, suspect=False, embedded=work.c.embedded + 1, updated_at=3.0),
        update(work).where(mine).values(**moved, chunks_epoch=work.c.epoch, updated_at=4.0),
        update(sources).where(reads).values(lease_until=40.0, cursor={"at": 6}),
        update(sources).where(reads).values(lease_token=None, lease_until=None, operation_id=None, synced_at=4.0),
        update(work).where(work.c.document_id == 1).values(stage="chunk", revision=2, epoch=work.c.epoch + 1, **FREED),
    ):
        assert connection.execute(change).rowcount == 1, change


def test_a_worker_of_an_older_release_works_on_after_the_migration(
    engine: Engine, old: MetaData, revision: str
) -> None:
    """With what it had claimed before. This release goes on with the units that it leaves."""
    writing = engine.execution_options(writes=True)
    with writing.begin() as connection:
        claim_as_before(connection, old)
    schema.migrate(engine)
    with writing.begin() as connection:
        write_every_table(connection, old, revision)
        finish_as_before(connection, old)
    ledger = Ledger(engine.url.render_as_string(hide_password=False))
    try:
        with ledger.write() as tx:
            found = [claim(tx, stage, worker="new", lease=60, limit=9) for stage in ("chunk", "upsert")]
    finally:
        ledger.close()
    units = [unit for one in found if one is not None for unit in one.units]
    assert [(unit.document_id, unit.stage, unit.revision, unit.epoch) for unit in units] == [
        (1, "chunk", 2, 2),
        (2, "upsert", 1, 1),
    ]
