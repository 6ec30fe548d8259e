"""Connections and transactions. Transactions are short, and a writing one is declared as such before it begins.

SQLite: WAL mode, and ``BEGIN IMMEDIATE`` for writers, because a deferred transaction that becomes a writer can lose its
claim to another one. PostgreSQL: READ COMMITTED with row locks.
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

#: Seconds of rest in the pool after which a connection is pinged before use.
REST = 1.0

#: Caches of one SQLite connection: number of prepared statements (those with hundreds of parameters take 50 KB each),
#: and kilobytes of pages. Cached pages are not useful for long, because a commit of another connection invalidates them
#: all. With 128 statements and 4 MB for each of 16 connections, caches alone grew by 14 MB from 2,000 to 18,000 chunks.
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
    """A text in lower case, for comparisons, in any script: SQLite's own ``lower`` handles ASCII only. The Greek final
    sigma counts as an ordinary sigma."""

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
    """A column that makes the statement's transaction commit without waiting for the disk (PostgreSQL).

    Use it only for claims of units that are not claimed alone, and for lease renewals. Other transactions see such a
    commit at once. It can be lost only if the server dies within the next second, which does no harm: the worker finds
    its lease gone before it saves. Any later ordinary commit also writes this one to disk.
    """

    type = Text()
    inherit_cache = True


@compiles(hurry, "sqlite")
def _sqlite_hurry(element, compiler, **_) -> str:
    return "null"


@compiles(hurry, "postgresql")
def _postgres_hurry(element, compiler, **_) -> str:
    return "(select set_config('synchronous_commit', 'off', true))"  # a subquery: evaluated once, not for each row


#: How long a server may be silent. Seconds to connect and between keepalives; milliseconds until data is acknowledged.
PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}

#: Limits on the server's side: for sessions that are silent within a transaction, for lock waits, and keepalives.
SESSION = {
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "20s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


def open_engine(url: str) -> Engine:
    """Return an engine for the URL. Creates the folder of a SQLite file."""
    if url.startswith("sqlite"):
        return _sqlite_engine(url)
    engine = create_engine(_postgres_url(url), pool_size=8, max_overflow=8, connect_args=PATIENCE)
    _ping_after_rest(engine)
    _bound_sessions(engine)
    _leave_standbys(engine)
    return engine


def _bound_sessions(engine: Engine) -> None:
    """Apply SESSION: a host that freezes or loses power within a transaction must not keep its locks for hours."""

    @event.listens_for(engine, "connect")
    def _on_connect(connection, _record) -> None:
        from psycopg.types.array import ListBinaryDumper

        # Arrays are sent in binary. As text, each element is searched for characters to escape, and vectors become hex
        # digits: rows of chunks and embeddings took three to four times as long (measured).
        connection.adapters.register_dumper(list, ListBinaryDumper)
        with connection.cursor() as cursor:
            cursor.execute("; ".join(f"set {name} = '{value}'" for name, value in SESSION.items()))
        connection.commit()


def _leave_standbys(engine: Engine) -> None:
    """Reconnect when the server has become read-only (a standby): the new connection may lead to the new primary."""

    @event.listens_for(engine, "handle_error")
    def _on_error(context) -> None:
        if getattr(context.original_exception, "sqlstate", None) == "25006":
            context.is_disconnect = True


def _ping_after_rest(engine: Engine) -> None:
    """Ping a connection before use only if it has rested for REST seconds: a ping costs as much as a statement.

    A connection that breaks while in use raises an error, and then SQLAlchemy discards all connections in the pool.
    """

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
    """Return the URL with its driver. Raises SettingsError, without the password, if it is not a PostgreSQL URL."""
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError) as error:  # ValueError: a port that is not a number
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
        pool_use_lifo=True,  # use as few connections as possible: each that is used fills its caches
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection, _record) -> None:
        connection.isolation_level = None  # no implicit BEGIN: _on_begin issues it
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
    """Open a transaction: commit at the end, roll back on an error. Database errors become errors of this project.

    ``alone``: for a single read statement, without BEGIN on SQLite; several would not see the same state.
    ``snapshot``: several read statements see the same state. On SQLite they always do, unless ``alone``.
    """
    options: dict[str, Any] = {"writes": writes, "alone": alone}
    if not writes and engine.dialect.name != "sqlite":
        # AUTOCOMMIT: each statement sees committed data, as in READ COMMITTED, without round trips for BEGIN and COMMIT
        options["isolation_level"] = "REPEATABLE READ" if snapshot else "AUTOCOMMIT"
    with translating(engine), engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


@contextmanager
def translating(engine: Engine) -> Iterator[None]:
    """Turn database errors in the block into errors of this project."""
    try:
        yield
    except exc.DBAPIError as error:
        raise translate(error, engine) from error
    except exc.TimeoutError as error:
        raise StorageUnavailable(f"All connections to the ledger are in use: {error}") from error


def translate(error: exc.DBAPIError, engine: Engine) -> PipelineError:
    """Return the error of this project that corresponds to a database error."""
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


#: Unique constraints on names that people choose: PostgreSQL's name of the constraint -> columns in SQLite's message.
_NAMES = {
    "uq_collections_name": "collections.name",
    "uq_sources_collection_id_connector_name": "sources.collection_id, sources.connector, sources.name",
    "uq_api_keys_name": "api_keys.name",
}


def _is_taken(refused: BaseException | None) -> bool:
    """Whether a row was refused because its name is taken."""
    constraint = getattr(getattr(refused, "diag", None), "constraint_name", None)
    if getattr(refused, "sqlite_errorname", None) == "SQLITE_CONSTRAINT_UNIQUE":
        return str(refused).rpartition(": ")[2] in _NAMES.values()
    return getattr(refused, "sqlstate", None) == "23505" and constraint in _NAMES


def is_away(error: Exception) -> bool:
    """Whether an error is temporary: the ledger does not answer, or a lock was held for too long."""
    if not isinstance(error, exc.DBAPIError):
        return isinstance(error, exc.TimeoutError)
    of_server = isinstance(error, exc.OperationalError | exc.InterfaceError)
    return of_server or error.connection_invalidated or _cut(error.orig)


#: SQLSTATEs that psycopg does not report as an OperationalError, but that mean a broken connection: a session that was
#: silent in a transaction for too long, or lasted too long, because its host slept; a server that has become a standby.
_CUT = ("25P03", "25P04", "25006")


def _cut(refused: BaseException | None) -> bool:
    return getattr(refused, "sqlstate", None) in _CUT


def insert_for(tx: Transaction, table: Table):
    """Return an INSERT of the transaction's dialect, which supports ON CONFLICT."""
    return (sqlite if tx.dialect.name == "sqlite" else postgresql).insert(table)
