"""Facts about the ledger's database server: version, clock, number of connections."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, text

from semantik_pipeline.ledger.database.connection import Transaction, now

#: Connections that one process may open: a pool of 8 and an overflow of 8 (``open_engine``).
MOST_CONNECTIONS = 16


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """Facts about the server. ``connections`` are open, ``limit`` is the maximum; both None on SQLite."""

    name: str
    now: float  # seconds since 1970, on the server's clock
    connections: int | None = None
    limit: int | None = None


def about(tx: Transaction) -> ServerFacts:
    """Ask the server for its facts."""
    here: float = tx.execute(select(now())).scalar_one()
    if tx.dialect.name == "sqlite":
        return ServerFacts(name=f"SQLite {tx.execute(text('select sqlite_version()')).scalar_one()}", now=here)
    version = tx.execute(text("show server_version")).scalar_one()
    limit = int(tx.execute(text("show max_connections")).scalar_one())
    opened = text("select count(*) from pg_stat_activity where backend_type = 'client backend'")
    return ServerFacts(name=f"PostgreSQL {version}", now=here, connections=tx.execute(opened).scalar_one(), limit=limit)
