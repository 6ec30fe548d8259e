"""Connections and transactions. A transaction is short, and a writing one says so before it begins.

SQLite: WAL, and ``BEGIN IMMEDIATE`` for writers, since a deferred transaction that turns into a writer can lose its
claim to another. Postgres: READ COMMITTED with row locks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Double, Engine, Table, Text, create_engine, event, exc, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from semantik_pipeline.errors import Conflict, PipelineError, SettingsError, StorageFull, StorageUnavailable

Transaction = Connection

#: Seconds after which a connection in the pool is asked whether it still lives.
REST = 1.0

#: What a connection to SQLite keeps: prepared statements (those with hundreds of parameters take 50 KB each), and
#: kilobytes of pages. Pages are of no use for long, for another connection's commit makes all of them old; with 128
#: statements and 4 MB for each of 16 connections, caches alone grew by 14 MB from 2,000 to 18,000 chunks.
STATEMENTS = 32
PAGES_KB = 1000


class now(FunctionElement):  # noqa: N801 - reads as the SQL it becomes
    """Seconds since 1970 on the database's clock."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(element, compiler, **_) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgres_now(element, compiler, **_) -> str:
    return "extract(epoch from clock_timestamp())"


class lowered(FunctionElement):  # noqa: N801 - as now
    """A text in lower case, to be compared, whatever letters it has: SQLite's own ``lower`` knows ASCII's alone. A sigma
    that ends a word is one like others."""

    type = Text()
    inherit_cache = True


@compiles(lowered, "sqlite")
def _sqlite_lowered(element, compiler, **told) -> str:
    return f"semantik_lower({compiler.process(element.clauses, **told)})"


@compiles(lowered, "postgresql")
def _postgres_lowered(element, compiler, **told) -> str:
    return f"replace(lower({compiler.process(element.clauses, **told)}), 'ς', 'σ')"


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower().replace("ς", "σ")


class hurry(FunctionElement):  # noqa: N801 - as now
    """A column of a statement, by which its transaction commits without waiting for the disk. For leases in company alone:
    everybody sees them at once, and if the server dies within the second, its leases are of no use to anybody. Whoever held
    one finds it gone before it saves, and whatever is committed after it in the usual way brings it to the disk as well."""

    type = Text()
    inherit_cache = True


@compiles(hurry, "sqlite")
def _sqlite_hurry(element, compiler, **_) -> str:
    return "null"


@compiles(hurry, "postgresql")
def _postgres_hurry(element, compiler, **_) -> str:
    return "(select set_config('synchronous_commit', 'off', true))"  # once, however many rows it stands beside


#: How long a server may be silent: seconds to connect and between keepalives, milliseconds until sent data is answered.
PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}

#: The same from the server's side: it ends sessions that fell silent in a transaction, and waits for locks so long.
SESSION = {
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "20s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


def open_engine(url: str) -> Engine:
    """An engine for the URL; makes the folder of an SQLite file."""
    if url.startswith("sqlite"):
        return _sqlite_engine(url)
    engine = create_engine(_postgres_url(url), pool_size=8, max_overflow=8, connect_args=PATIENCE)
    _ping_after_rest(engine)
    _bound_sessions(engine)
    _leave_standbys(engine)
    return engine


def _bound_sessions(engine: Engine) -> None:
    """A host that freezes or loses its power in the middle of a transaction must not keep its locks for hours."""

    @event.listens_for(engine, "connect")
    def _on_connect(connection, _record) -> None:
        from psycopg.types.array import ListBinaryDumper

        # As text, each element of an array is searched for what to escape, and vectors are written as hex digits: rows
        # of chunks and embeddings took three to four times as long (measured).
        connection.adapters.register_dumper(list, ListBinaryDumper)
        with connection.cursor() as cursor:
            cursor.execute("; ".join(f"set {name} = '{value}'" for name, value in SESSION.items()))
        connection.commit()


def _leave_standbys(engine: Engine) -> None:
    """A server that has become read-only stays so: connect anew, which may lead to the one that took its place."""

    @event.listens_for(engine, "handle_error")
    def _on_error(context) -> None:
        if getattr(context.original_exception, "sqlstate", None) == "25006":
            context.is_disconnect = True


def _ping_after_rest(engine: Engine) -> None:
    """Ask a connection whether it lives only if it has rested: asking each time costs as much as a statement. One that
    was cut while it was in use tells by itself, and takes all that rest in the pool with it."""

    @event.listens_for(engine, "checkin")
    def _on_checkin(_connection, record) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _on_checkout(connection, record, _proxy) -> None:
        rested = time.monotonic() - record.info.get("rests_since", time.monotonic())
        if rested > REST:
            try:
                engine.dialect.do_ping(connection)
            except exc.DBAPIError as error:
                raise exc.DisconnectionError from error
            except engine.dialect.loaded_dbapi.Error as error:
                raise exc.DisconnectionError from error


def _postgres_url(text: str) -> URL:
    """With its driver. Raises SettingsError, without the password, for what names no database of PostgreSQL."""
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError) as error:  # a port that is no number
        why = "it is not a valid URL" if isinstance(error, exc.ArgumentError) else "its host or port can't be read"
        raise SettingsError(f"The setting database.url is unusable: {why}.", _POSTGRES) from None
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        raise SettingsError(f"The setting database.url is unusable: it begins with {url.drivername}://.", _POSTGRES)
    return url.set(drivername="postgresql+psycopg")


_POSTGRES = (
    "Write postgresql://USER:PASSWORD@HOST:PORT/NAME, with an IPv6 address in brackets, or leave it unset for SQLite."
)


def _sqlite_engine(url: str) -> Engine:
    if not url.startswith("sqlite:///"):
        raise SettingsError(
            f"The setting database.url is unusable: {url!r} does not name a file.",
            "Write sqlite:////absolute/path.sqlite3.",
        )
    path = Path(url.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        connect_args={"timeout": 30, "check_same_thread": False, "cached_statements": STATEMENTS},
        pool_size=16,
        pool_use_lifo=True,  # as few connections as work at once; in turn, each of the sixteen would fill its caches
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection, _record) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        connection.create_function("semantik_lower", 1, _lower, deterministic=True)
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA cache_size=-{PAGES_KB}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection) -> None:
        options = connection.get_execution_options()
        if not options.get("alone", False):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes", False) else "BEGIN")

    return engine


@contextmanager
def transaction(engine: Engine, *, writes: bool, alone: bool = False, snapshot: bool = False) -> Iterator[Transaction]:
    """Commit at the end, roll back on an error; database faults become errors of this project.

    ``alone``: one statement that reads, which sees one state of the database by itself; more would not see the same one.
    ``snapshot``: several statements that read see one state. On SQLite they do anyway, unless ``alone``.
    """
    options: dict[str, Any] = {"writes": writes, "alone": alone}
    if not writes and engine.dialect.name != "sqlite":
        # AUTOCOMMIT: each statement sees what is committed, as in READ COMMITTED; BEGIN and COMMIT cost no round trips
        options["isolation_level"] = "REPEATABLE READ" if snapshot else "AUTOCOMMIT"
    with translating(engine), engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


@contextmanager
def translating(engine: Engine) -> Iterator[None]:
    """Database faults inside become errors of this project."""
    try:
        yield
    except exc.DBAPIError as error:
        raise translate(error, engine) from error
    except exc.TimeoutError as error:
        raise StorageUnavailable(f"All connections to the ledger are in use: {error}") from error


def translate(error: exc.DBAPIError, engine: Engine) -> PipelineError:
    """What a database error means for the work in hand."""
    text = str(error.orig)
    where = engine.url.render_as_string(hide_password=True)
    if "disk is full" in text or "No space left" in text or "disk I/O error" in text:
        return StorageFull(
            f"The ledger {where} can't be written: {text}.", "Free disk space and run it again; nothing was lost."
        )
    if is_away(error):
        way_out = None if engine.dialect.name == "sqlite" else "Check that the server runs, and database.url."
        return StorageUnavailable(f"The ledger {where} does not answer: {text.strip().splitlines()[0]}", way_out)
    if _is_taken(error.orig):
        return Conflict("Another request took that name at the same moment.", "Check the current state, and try again.")
    return PipelineError(f"The ledger {where} refused a statement: {text.strip()}")


#: Unique constraints on what people name, by PostgreSQL's name of each and SQLite's columns.
_NAMES = {
    "uq_collections_name": "collections.name",
    "uq_sources_collection_id_connector_name": "sources.collection_id, sources.connector, sources.name",
    "uq_api_keys_name": "api_keys.name",
}


def _is_taken(refused: BaseException | None) -> bool:
    """Whether the row was refused since somebody has its name."""
    constraint = getattr(getattr(refused, "diag", None), "constraint_name", None)
    if getattr(refused, "sqlite_errorname", None) == "SQLITE_CONSTRAINT_UNIQUE":
        return str(refused).rpartition(": ")[2] in _NAMES.values()
    return getattr(refused, "sqlstate", None) == "23505" and constraint in _NAMES


def is_away(error: Exception) -> bool:
    """Whether an error means that the ledger can't do now what it is asked for: it is away, or kept a lock for too long."""
    if not isinstance(error, exc.DBAPIError):
        return isinstance(error, exc.TimeoutError)
    of_server = isinstance(error, exc.OperationalError | exc.InterfaceError)
    return of_server or error.connection_invalidated or _cut(error.orig)


#: SQLSTATEs that psycopg does not take for the server's trouble: a session that was silent in its transaction for too
#: long, or that lasted too long, because its host slept; a server that has become a standby.
_CUT = ("25P03", "25P04", "25006")


def _cut(refused: BaseException | None) -> bool:
    return getattr(refused, "sqlstate", None) in _CUT


def insert_for(tx: Transaction, table: Table):
    """An INSERT of the transaction's own dialect, which knows ON CONFLICT."""
    return (sqlite if tx.dialect.name == "sqlite" else postgresql).insert(table)
