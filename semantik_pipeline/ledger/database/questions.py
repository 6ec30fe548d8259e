"""Fast queries for search: SELECT statements that are compiled once and sent directly to the database's driver.

Measured right after an engine's search, when the CPU caches are cold: a statement takes 0.5 ms through SQLAlchemy's
connection, transaction, context and result, of which SQLite itself takes 0.1 ms. This way takes 0.2 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, Select

from semantik_pipeline.ledger.database.connection import transaction, translating


class Question:
    """A SELECT with named parameters. Each execution sees one consistent state of the database."""

    def __init__(self, statement: Select[Any]) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def asked(self, engine: Engine, **parameters: Any) -> list[tuple[Any, ...]]:
        """Execute the statement and return its rows."""
        compiled = self._compiled.get(engine.dialect.name)
        if compiled is None:
            compiled = self._compiled[engine.dialect.name] = _Compiled(self._statement, engine.dialect)
        with translating(engine):
            try:
                return compiled.rows(engine, parameters)
            except engine.dialect.loaded_dbapi.Error:  # retry through SQLAlchemy: maybe only this connection was broken
                with transaction(engine, writes=False) as tx:
                    return [tuple(row) for row in tx.execute(self._statement, parameters)]


class _Compiled:
    """The statement as SQL text of one dialect, with converters for parameters and for result columns."""

    def __init__(self, statement: Select[Any], dialect: Any) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self._text = str(compiled)
        self._order = compiled.positiontup if compiled.positional else None
        binds = compiled.binds.items()
        self._given = [(name, bind.value, _of(dialect, bind.type).bind_processor(dialect)) for name, bind in binds]
        self._made = [_of(dialect, one.type).result_processor(dialect, None) for one in statement.selected_columns]
        self._on_server = dialect.name != "sqlite"

    def rows(self, engine: Engine, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows. Raises the driver's own errors."""
        values = {name: _through(take, parameters.get(name, value)) for name, value, take in self._given}
        given = values if self._order is None else [values[name] for name in self._order]
        connection = engine.raw_connection()
        try:
            found = self._fetched(connection.driver_connection, given)
        except engine.dialect.loaded_dbapi.Error:
            connection.invalidate()
            raise
        finally:
            connection.close()
        if not any(self._made):
            return found
        return [tuple(map(_through, self._made, row)) for row in found]

    def _fetched(self, driver: Any, values: Any) -> list[tuple[Any, ...]]:
        if not self._on_server:
            return driver.execute(self._text, values).fetchall()
        driver.autocommit = True  # BEGIN and COMMIT would be round trips
        try:
            return driver.execute(self._text, values).fetchall()
        finally:
            driver.autocommit = False


def _of(dialect: Any, kind: Any) -> Any:
    return kind.dialect_impl(dialect)


def _through(process: Callable[[Any], Any] | None, value: Any) -> Any:
    return value if process is None else process(value)
