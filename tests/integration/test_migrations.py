"""The migrations make exactly the tables of ledger/tables.py, on every database that the ledger runs on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from semantik_pipeline.errors import SchemaMismatch
from semantik_pipeline.ledger import Ledger, schema
from semantik_pipeline.ledger.connection import open_engine
from semantik_pipeline.ledger.tables import metadata


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
    environment = {**os.environ, "SEMANTIK_DATABASE_URL": postgres_url, "SEMANTIK_DATA_DIR": str(tmp_path)}

    def semantik(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "semantik_pipeline.cli", *arguments, "--json"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    refused = semantik("status")
    assert refused.returncode == 1
    assert "semantik migrate" in json.loads(refused.stdout)["error"]["hint"]
    assert json.loads(semantik("migrate").stdout) == {"before": None, "schema": schema.HEAD, "migrated": True}
    assert json.loads(semantik("migrate").stdout)["migrated"] is False
    assert semantik("status").returncode == 0
