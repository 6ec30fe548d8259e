"""The version of the ledger's schema: checking it, and migrating to the one that this program needs."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from semantik_pipeline.errors import SchemaMismatch
from semantik_pipeline.ledger.database.connection import SESSION, translating

#: The newest migration. A test compares this with ``migrations/``.
HEAD = "0008"


#: Key of the PostgreSQL advisory lock that a migration holds.
_MIGRATING = 0x73656D616E74696B


def current(engine: Engine) -> str | None:
    """Return the schema's revision, or None for a database without a ledger."""
    with translating(engine), engine.connect() as connection:
        return _current(connection)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("select version_num from alembic_version")).scalar_one_or_none()


def check(engine: Engine) -> None:
    """Raise SchemaMismatch, naming the command that fixes it, unless the schema has revision HEAD."""
    found = current(engine)
    if found == HEAD:
        return
    where = engine.url.render_as_string(hide_password=True)
    if found is not None and found > HEAD:
        raise SchemaMismatch(
            f"The ledger {where} has schema {found}, newer than this program's {HEAD}.", "Install the newer release."
        )
    raise SchemaMismatch(
        f"The ledger {where} has schema {found or 'none'}; this program needs {HEAD}.", "Run `semantik migrate`."
    )


def migrate(engine: Engine) -> str | None:
    """Migrate the schema to HEAD and return the revision it had before. Idempotent. If several processes call it at
    once, one migrates and the others wait."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    with (
        translating(engine),
        engine.connect().execution_options(writes=True) as connection,
        connection.begin(),
    ):
        _wait_for_others(connection)
        before = _current(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return before


def _wait_for_others(connection: Connection) -> None:
    """Wait until no other process migrates. On SQLite the start of the write transaction has already waited.

    A migration may take longer than the usual ``lock_timeout``, so that is off during the wait.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("set local lock_timeout = 0"))
        connection.execute(text("select pg_advisory_xact_lock(:it)"), {"it": _MIGRATING})
        connection.execute(text(f"set local lock_timeout = '{SESSION['lock_timeout']}'"))


def migrations_folder() -> Path:
    """Return the folder of migrations: inside an installed package, or next to the package in a checkout."""
    package = Path(__file__).resolve().parents[2]
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"
