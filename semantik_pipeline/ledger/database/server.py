"""The server behind the ledger: which it is, what time it has, how many connections it bears."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, text

from semantik_pipeline.ledger.database.connection import Transaction, now

#: Connections that one process may open: a pool of 8, and 8 beyond it (``open_engine``).
MOST_CONNECTIONS = 16


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """``connections`` that are open, of at most ``limit``; both None where connections are none of its concern."""

    name: str
    now: float  # on its clock
    connections: int | None = None
    limit: int | None = None


def about(tx: Transaction) -> ServerFacts:
    """What the server says of itself."""
    here: float = tx.execute(select(now())).scalar_one()
    if tx.dialect.name == "sqlite":
        return ServerFacts(name=f"SQLite {tx.execute(text('select sqlite_version()')).scalar_one()}", now=here)
    version = tx.execute(text("show server_version")).scalar_one()
    limit = int(tx.execute(text("show max_connections")).scalar_one())
    opened = text("select count(*) from pg_stat_activity where backend_type = 'client backend'")
    return ServerFacts(name=f"PostgreSQL {version}", now=here, connections=tx.execute(opened).scalar_one(), limit=limit)
