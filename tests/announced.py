"""A worker in the ledger that no process is."""

from __future__ import annotations

from typing import Any

from semantik_pipeline.ledger import Transaction
from semantik_pipeline.ledger.queue import workers


def announced(tx: Transaction, worker_id: str, *, host: str, pid: int, profile: str, report: dict[str, Any]) -> None:
    """A worker that was announced and is ready."""
    workers.announce(tx, worker_id, host=host, pid=pid, profile=profile, report=report)
    workers.ready(tx, worker_id, host=host, pid=pid)
