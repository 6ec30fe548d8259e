"""Withdraw the points of a revision that went into quarantine while it was being written.

Its points are deleted; the points that were indexed before stay. The worker that quarantined the document does this at
once. The pending withdrawal was committed together with the quarantine, so maintenance does it if the worker died in
between or the store was unreachable.
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
    """Delete these documents' points except those of the indexed revision. Never deletes points of a newer epoch."""
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
            raise lost_index.blamed(runtime, unit.generation_id, error) from None  # the new error quotes it
        with runtime.ledger.write() as tx:
            reconciling.withdrawn(tx, unit)


def advance(runtime: Runtime, *, seconds: float) -> bool:
    """Withdraw pending points for at most ``seconds`` seconds. Returns whether more could be done at once."""
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
            except ServiceFailing as error:  # the store answers, so the next document may succeed
                log.warning("The points of %s can't be withdrawn yet: %s", unit.unique_id, error)
            except ServiceUnavailable as error:  # the rest of maintenance does not need the store
                log.info("The points of documents in quarantine can't be withdrawn yet: %s", error)
                return False


def _indexed(runtime: Runtime, unit: Unit) -> list[str]:
    """Return the ids of the points that are indexed of the document."""
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
