"""Fetch documents from their source, several at a time, and decide what one becomes that cannot be fetched."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semantik_pipeline.concurrency import map_in_order
from semantik_pipeline.contracts import ConnectorPlugin
from semantik_pipeline.documents import DocumentReference
from semantik_pipeline.errors import (
    CredentialsRejected,
    DocumentGone,
    DocumentUnreadable,
    ServiceUnavailable,
    SkipDocument,
    StorageFull,
    TransientError,
)
from semantik_pipeline.ledger.ingestion.sync import Arrival, SourceClaim
from semantik_pipeline.ledger.queue.leases import Hold
from semantik_pipeline.stages.arrivals import arrival_of, without_content
from semantik_pipeline.stages.unit_errors import describe, told

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Number of tries of one document within a slice before it counts as unread. The next sync tries it again.
FETCHES = 3

#: Bytes of documents that are fetched concurrently, or whose bodies are stored concurrently. A larger document is
#: handled alone. More would hide no more latency, and on a slow line each could take longer than the lease's deadline.
BYTES = 8 * 2**20


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A document that could not be read now. Its content may be unchanged, so what is indexed of it stays."""

    error: Exception


@dataclass(frozen=True)
class Left:
    """A document that was not fetched, because the process takes no more work."""


#: A name from the batch, and the document that the source calls by it.
Named = tuple[str, DocumentReference]

#: What becomes of a reference; None if its document is gone.
Fetched = Arrival | Unread | Left | None


def fetch_all(
    runtime: Runtime, connector: ConnectorPlugin, claim: SourceClaim, hold: Hold, wanted: Iterable[Named]
) -> Iterator[tuple[Named, Fetched]]:
    """Fetch documents and store their bodies. Yields what became of each reference, in the order of ``wanted``.

    As many fetches run concurrently as the connector allows (``FETCH_CONCURRENCY``), within :data:`BYTES`. Of a
    connector that fetches one at a time, the next document is fetched while bodies are stored. Once the process takes
    no more work, no further fetch begins, and neither does one after an error, which is raised when the running ones
    have ended.
    """

    def read(named: Named) -> _Unstored | Fetched:
        if runtime.idle:
            return Left()
        fetched = _read(runtime, connector, claim, hold, *named)
        hold.touch()
        return fetched

    def store(item: tuple[Named, _Unstored | Fetched]) -> Fetched:
        found = item[1]
        if not isinstance(found, _Unstored):
            return found
        runtime.blobs.put_raw(found.key, found.body)
        hold.touch()
        return found.arrival

    threads = connector.FETCH_CONCURRENCY
    if threads == 1:
        fetched = ((named, read(named)) for named in wanted)  # in this thread, as it is asked for
        stored = map_in_order(store, fetched, threads=runtime.blobs.concurrency, size=_size, limit=BYTES)
        yield from ((named, outcome) for (named, _), outcome in stored)
        return

    def declared(named: Named) -> int:
        return named[1].size or BYTES // threads

    def read_and_store(named: Named) -> Fetched:
        return store((named, read(named)))

    yield from map_in_order(read_and_store, wanted, threads=threads, size=declared, limit=BYTES)


@dataclass(frozen=True, kw_only=True)
class _Unstored:
    """A fetched document whose body is not stored yet, by its content hash."""

    arrival: Arrival
    key: str
    body: bytes


def _size(item: tuple[Named, _Unstored | Fetched]) -> int:
    found = item[1]
    return len(found.body) if isinstance(found, _Unstored) else 0


def _read(
    runtime: Runtime,
    connector: ConnectorPlugin,
    claim: SourceClaim,
    hold: Hold,
    name: str,
    reference: DocumentReference,
) -> _Unstored | Fetched:
    """Ask the source for one document. Returns None if the document is gone.

    A document without a body that could be indexed is an Arrival that gives the reason.
    """
    for attempt in range(FETCHES):
        hold.check()
        try:
            document = runtime.host.call(connector.fetch, reference).check()
            arrival = arrival_of(name, document, reference)
            return _Unstored(arrival=arrival, key=document.content_hash, body=document.body)
        except DocumentGone:
            return None
        except SkipDocument as skip:
            return without_content(name, reference, claim, skipped=told(skip))
        except (ServiceUnavailable, StorageFull, CredentialsRejected):
            raise  # no document is to blame: the slice waits, or the sync ends
        except (TransientError, OSError) as error:
            if attempt + 1 == FETCHES or isinstance(error, DocumentUnreadable):
                return Unread(error=error)
            time.sleep(min(getattr(error, "retry_after", None) or 0.1 * 2**attempt, 2.0))
        except Exception as error:
            return without_content(name, reference, claim, error=describe(error))
    raise AssertionError("the last try has returned")
