"""The migrations make exactly the tables of ledger/tables/, on every database that the ledger runs on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, insert, select, text, update

from semantik_pipeline.errors import SchemaMismatch
from semantik_pipeline.ledger import Ledger
from semantik_pipeline.ledger.catalog import collections
from semantik_pipeline.ledger.database import schema
from semantik_pipeline.ledger.database.connection import open_engine
from semantik_pipeline.ledger.ingestion import unfinished
from semantik_pipeline.ledger.operations import holds, lifecycle
from semantik_pipeline.ledger.queue import pending_holds
from semantik_pipeline.ledger.queue.work import claim
from semantik_pipeline.ledger.tables import metadata
from tests import forks


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"


def test_the_head_is_what_the_program_asks_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_migrated_tables_equal_the_models(database_url: str) -> None:
    engine = open_engine(database_url)
    try:
        assert schema.current(engine) is None
        schema.migrate(engine)
        schema.migrate(engine)  # twice is fine
        assert schema.current(engine) == schema.HEAD
        with engine.connect() as connection:
            options = {"compare_type": True, "compare_server_default": True}
            found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        assert found == []
    finally:
        engine.dispose()


def upgrade(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def reflected(connection: Connection) -> MetaData:
    found = MetaData()
    found.reflect(connection)
    return found


#: What the first release wrote: an indexed document and one on its way, by the tables of revision 0001.
FIRST: dict[str, list[dict[str, Any]]] = {
    "chores": [{"name": "sweep", "done_at": 1.0}],
    "collections": [
        {
            "id": 1,
            "name": "default",
            "config": {"embedding": {"plugin": "e"}},
            "active_generation": 1,
            "created_at": 1.0,
        }
    ],
    "generations": [
        {
            "id": 1,
            "collection_id": 1,
            "state": "active",
            "config": {"embedding": {"plugin": "e", "options": {}}},
            "fingerprints": {"embed": "f"},
            "index_name": "default-1",
            "dimension": 2,
            "created_at": 1.0,
        }
    ],
    "operations": [{"id": 1, "collection_id": 1, "kind": "sync", "state": "running", "created_at": 1.0}],
    "sources": [
        {
            "id": 1,
            "collection_id": 1,
            "connector": "directory",
            "name": "notes",
            "config": {"path": "/n"},
            "run": 3,
            "cursor": {"at": 5},
            "operation_id": 1,
            "created_at": 1.0,
        }
    ],
    "documents": [
        {
            "id": number,
            "source_id": 1,
            "collection_id": 1,
            "unique_id": f"d{number}",
            "revision": 1,
            "content_hash": "h",
            "metadata": {"n": number},
            "seen_run": 3,
            "created_at": 1.0,
            "changed_at": 1.0,
        }
        for number in (1, 2)
    ],
    "operation_items": [{"operation_id": 1, "document_id": 2, "kind": "new", "revision": 1}],
    "operation_sources": [{"operation_id": 1, "source_id": 1, "run": 3, "state": "done"}],
    "work": [
        {
            "document_id": number,
            "generation_id": 1,
            "source_id": 1,
            "revision": 1,
            "stage": stage,
            "goal": "index",
            "epoch": 1,
            "lane": 2,
            "turn": 0.0,
            "updated_at": 1.0,
            "chunks": 1,
        }
        for number, stage in ((1, "indexed"), (2, "embed"))
    ],
    "chunks": [
        {
            "id": 1,
            "generation_id": 1,
            "document_id": 1,
            "epoch": 1,
            "ordinal": 0,
            "lead": "",
            "text": "words",
            "text_hash": "t",
            "start": 0,
            "end": 5,
            "token_count": 1,
            "metadata": {},
            "point_id": "p",
            "embed_key": "k",
            "signature": "s",
        }
    ],
    "embeddings": [{"id": 1, "key": "k", "vector": b"12345678", "created_at": 1.0}],
    "extractions": [{"id": 1, "text_hash": "t", "fingerprint": "x", "result": {"topics": []}, "created_at": 1.0}],
}


@pytest.fixture
def first_release(database_url: str) -> Iterator[Engine]:
    """A ledger of revision 0001 in which work is under way."""
    engine = open_engine(database_url)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        upgrade(connection, "0001")
        tables = reflected(connection).tables
        for name in FIRST:
            for row in FIRST[name]:
                connection.execute(insert(tables[name]).values(row))
    yield engine
    engine.dispose()


def test_a_ledger_of_the_first_release_keeps_every_row_and_goes_on(first_release: Engine, database_url: str) -> None:
    schema.migrate(first_release)
    with first_release.connect() as connection:
        tables = reflected(connection).tables
        for name, rows in FIRST.items():
            table = tables[name]
            columns = [table.c[column] for column in rows[0]]
            found = connection.execute(select(*columns).order_by(next(iter(table.primary_key)))).mappings()
            assert [dict(row) for row in found] == rows, name
    ledger = Ledger(database_url)
    try:
        with ledger.read() as tx:
            collection = collections.find_collection(tx, "default")
            assert collection is not None and collection.config == {"embedding": {"plugin": "e"}}
            progress = lifecycle.progress(tx, 1)
        assert progress.state == "running" and progress.stages == {"embed": 1}
    finally:
        ledger.close()


def test_a_build_under_way_has_the_names_of_its_phases_that_are_known_today(database_url: str) -> None:
    """A reindex that a release before began goes on where it was."""
    was = {1: {"phase": "filling", "after": 500}, 2: {"phase": "judging"}, 3: {"phase": "building"}, 4: None}
    engine = open_engine(database_url)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        upgrade(connection, "0006")
        tables = reflected(connection).tables
        connection.execute(insert(tables["collections"]).values(FIRST["collections"]))
        for number, build in was.items():
            generation = {**FIRST["generations"][0], "id": number, "index_name": f"i{number}", "state": "building"}
            connection.execute(insert(tables["generations"]).values({**generation, "build": build}))
    schema.migrate(engine)
    with engine.connect() as connection:
        table = reflected(connection).tables["generations"]
        found = dict(map(tuple, connection.execute(select(table.c.id, table.c.build))))
    engine.dispose()
    assert found == was | {1: {"phase": "backfilling", "after": 500}, 2: {"phase": "verifying"}}


def test_an_operation_that_was_just_paused_is_so_after_the_migration(first_release: Engine, database_url: str) -> None:
    with first_release.connect().execution_options(writes=True) as connection, connection.begin():
        upgrade(connection, "0006")
        table = reflected(connection).tables["operations"]
        marking = {"upto": 0, "units": 3, "behind": None}
        connection.execute(update(table).values(state="paused", detail={"marking": marking, "more": 1}))
    schema.migrate(first_release)
    ledger = Ledger(database_url)
    try:
        with ledger.write() as tx:
            assert pending_holds.operation_ids(tx) == [1]
            assert claim(tx, "embed", worker="me", lease=60, limit=9) is None
            while (seen := holds.look(tx, 1)) is not None:
                holds.apply(tx, seen)
            assert pending_holds.changed(tx, 1) == 3 + 1
    finally:
        ledger.close()


def test_a_restore_under_way_goes_on_taking_up_what_was_parked(first_release: Engine, database_url: str) -> None:
    """Nobody would see to it otherwise, and it would never end."""
    with first_release.connect().execution_options(writes=True) as connection, connection.begin():
        upgrade(connection, "0006")
        table = reflected(connection).tables["operations"]
        detail = {"looked_upto": 4, "behind": 1.5}
        connection.execute(update(table).values(kind="restore", state="running", outcome=None, detail=detail))
    schema.migrate(first_release)
    ledger = Ledger(database_url)
    try:
        with ledger.read() as tx:
            (found,) = unfinished.pending(tx)
            assert (found.of, found.after, found.behind) == (None, 4, 1.5)
    finally:
        ledger.close()


def test_a_deletion_in_quarantine_is_tried_again(first_release: Engine, database_url: str) -> None:
    """Today none ever goes there; a document whose content is at fault stays there."""
    with first_release.connect().execution_options(writes=True) as connection, connection.begin():
        table = reflected(connection).tables["work"]
        for number, goal in ((1, "deleted"), (2, "indexed")):
            failed = {"stage": "quarantined", "goal": goal, "attempts": 3, "error": {"type": "ValueError"}}
            connection.execute(update(table).where(table.c.document_id == number).values(failed))
    schema.migrate(first_release)
    ledger = Ledger(database_url)
    try:
        with ledger.write() as tx:
            found = claim(tx, "upsert", worker="me", lease=60, limit=9, alone=True)
            assert found is not None
            assert [(unit.document_id, unit.attempts, unit.touched) for unit in found.units] == [(1, 0, True)]
            assert claim(tx, "upsert", worker="me", lease=60, limit=9, alone=True) is None
    finally:
        ledger.close()


def test_the_comparison_sees_a_difference(database_url: str) -> None:
    engine = open_engine(database_url)
    try:
        schema.migrate(engine)
        with engine.connect() as connection, connection.begin():
            connection.execute(text("alter table workers drop column profile"))
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata)
    finally:
        engine.dispose()


@pytest.mark.parametrize(("revision", "way_out"), [("0000", "semantik migrate"), ("9999", "newer release")])
def test_another_schema_is_refused_with_the_way_out(database_url: str, revision: str, way_out: str) -> None:
    engine = open_engine(database_url)
    schema.migrate(engine)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(text("update alembic_version set version_num = :it"), {"it": revision})
    engine.dispose()
    with pytest.raises(SchemaMismatch, match=way_out):
        Ledger(database_url)


def test_an_empty_postgres_is_not_filled_unasked(postgres_url: str) -> None:
    with pytest.raises(SchemaMismatch, match="semantik migrate"):
        Ledger(postgres_url)


def test_migrate_makes_the_tables_that_an_empty_postgres_lacks(postgres_url: str, tmp_path: Path) -> None:
    environment = {"SEMANTIK_DATABASE_URL": postgres_url, "SEMANTIK_DATA_DIR": str(tmp_path), "PYTHONPATH": ""}

    def semantik(*arguments: str) -> forks.Result:
        return forks.semantik([*arguments, "--json"], {**os.environ, **environment})

    refused = semantik("status")
    assert refused.code == 1
    assert "semantik migrate" in refused.json()["error"]["hint"]
    assert semantik("migrate").json() == {"before": None, "schema": schema.HEAD, "migrated": True}
    assert semantik("migrate").json()["migrated"] is False
    assert semantik("status").code == 0


def test_several_who_migrate_at_once_wait_for_each_other(postgres_url: str) -> None:
    engines = [open_engine(postgres_url) for _ in range(4)]
    try:
        with ThreadPoolExecutor(len(engines)) as pool:
            found = list(pool.map(schema.migrate, engines))
        assert sorted(found, key=str) == [*[schema.HEAD] * 3, None]
        schema.check(engines[0])
    finally:
        for engine in engines:
            engine.dispose()


def test_a_server_that_is_away_is_said_to_be_so(tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    environment = {**os.environ, "SEMANTIK_DATABASE_URL": url, "SEMANTIK_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "semantik_pipeline.cli", "migrate", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["error"]["type"]) == (1, "StorageUnavailable")
