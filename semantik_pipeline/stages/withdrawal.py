"""What a revision that went into quarantine while it was written has in the store: it goes, what was indexed before stays.

The worker that set it aside does so at once. That it is owed was committed with the quarantine, so maintenance makes up
for a worker that died in between, and for a store that was away.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from semantik_pipeline.errors import ServiceFailing, ServiceUnavailable, UsageError
from semantik_pipeline.isolation import isolated
from semantik_pipeline.ledger.documents import content
from semantik_pipeline.ledger.queue import reconciling
from semantik_pipeline.ledger.queue.work import Unit
from semantik_pipeline.stages import lost_index

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)


def withdraw(runtime: Runtime, units: Iterable[Unit]) -> None:
    """Remove the points of these documents that are not of what was indexed. Never those of a newer epoch."""
    for unit in units:
        kept = _indexed(runtime, unit)
        mine = [
            {"key": "document_id", "match": {"value": unit.document_id}},
            {"key": "epoch", "range": {"lte": unit.epoch}},
        ]
        written = {"must": mine, "must_not": [{"has_id": kept}]} if kept else {"must": mine}
        index = runtime.index(runtime.generation(unit.generation_id))
        try:
            runtime.host.call(runtime.store.delete, index, filter=written)
        except UsageError as error:
            raise lost_index.blamed(runtime, unit.generation_id, error) from None  # it has its words
        with runtime.ledger.write() as tx:
            reconciling.withdrawn(tx, unit)


def advance(runtime: Runtime, *, seconds: float) -> bool:
    """Withdraw what is owed, for so many seconds. Returns whether there is more that could be done at once."""
    until, after = time.monotonic() + seconds, (0, 0)
    while True:
        with runtime.ledger.read() as tx:
            owed = reconciling.owed(tx, after=after)
        if not owed:
            return False
        for unit in owed:
            if runtime.stopping.is_set() or time.monotonic() >= until:
                return True
            after = unit.key
            try:
                with isolated(runtime, "withdrawals", unit.unique_id, but=ServiceUnavailable):
                    withdraw(runtime, [unit])
            except ServiceFailing as error:  # the store answers, so it may take the next one
                log.warning("The points of %s can't be withdrawn yet: %s", unit.unique_id, error)
            except ServiceUnavailable as error:  # nothing else of maintenance needs the store just now
                log.info("The points of documents in quarantine can't be withdrawn yet: %s", error)
                return False


def _indexed(runtime: Runtime, unit: Unit) -> list[str]:
    """Ids of the points of what is indexed of the document."""
    if unit.indexed_chunks_epoch is None:
        return []
    ids: list[str] = []
    start, size = 0, runtime.settings.upsert.batch_size
    while True:
        with runtime.ledger.read() as tx:
            rows = content.chunk_rows(tx, unit, unit.indexed_chunks_epoch, start=start, limit=size)
        ids += [row.point_id for row in rows]
        if len(rows) < size:
            return ids
        start = rows[-1].ordinal + 1
