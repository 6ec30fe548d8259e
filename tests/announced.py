"""A worker row in the ledger without a process."""

from __future__ import annotations

from typing import Any

from semantik_pipeline.ledger import Transaction
from semantik_pipeline.ledger.queue import workers


def announced(tx: Transaction, worker_id: str, *, host: str, pid: int, profile: str, report: dict[str, Any]) -> None:
    """Announce a worker and mark it as ready."""
    workers.announce(tx, worker_id, host=host, pid=pid, profile=profile, report=report)
    workers.ready(tx, worker_id, host=host, pid=pid)
