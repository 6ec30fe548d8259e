"""Whether the ledger's schema is this program's, and the migration that makes it so."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, inspect, text

from semantik_pipeline.errors import SchemaMismatch

#: The newest migration; a test holds it against ``migrations/``.
HEAD = "0005"


def current(engine: Engine) -> str | None:
    """The schema's revision; None for a database that has none of our tables."""
    with engine.connect() as connection:
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


def migrate(engine: Engine) -> None:
    """Bring the schema to this program's. Idempotent."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def migrations_folder() -> Path:
    """The folder of migrations: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"
