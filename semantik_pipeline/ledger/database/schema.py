"""Whether the ledger's schema is this program's, and the migration that makes it so."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from semantik_pipeline.errors import SchemaMismatch
from semantik_pipeline.ledger.database.connection import SESSION, translating

#: The newest migration; a test holds it against ``migrations/``.
HEAD = "0008"


#: A number of this program's own, for PostgreSQL's advisory locks: who has it migrates.
_MIGRATING = 0x73656D616E74696B


def current(engine: Engine) -> str | None:
    """The schema's revision; None for a database that has none of our tables."""
    with translating(engine), engine.connect() as connection:
        return _current(connection)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("select version_num from alembic_version")).scalar_one_or_none()


def check(engine: Engine) -> None:
    """Raise SchemaMismatch, naming the command that mends it, unless the schema is this program's."""
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
    """Bring the schema to this program's, and return which it was. Idempotent; of several at once one works, and the
    others wait for it."""
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
    """On SQLite the transaction itself has waited. A migration may take longer than anybody waits for other locks."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("set local lock_timeout = 0"))
        connection.execute(text("select pg_advisory_xact_lock(:it)"), {"it": _MIGRATING})
        connection.execute(text(f"set local lock_timeout = '{SESSION['lock_timeout']}'"))


def migrations_folder() -> Path:
    """The folder of migrations: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"
