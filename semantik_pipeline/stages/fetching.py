"""Fetch documents from their source, several at a time, and decide what one becomes that cannot be fetched."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
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

#: Bytes of documents that are fetched concurrently, and of bodies that are stored concurrently. A larger document is
#: handled alone.
BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A document that could not be read now. Its content may be unchanged, so what is indexed of it stays."""

    error: Exception


#: A name from the batch, and the document that the source calls by it.
Named = tuple[str, DocumentReference]

#: What becomes of a reference; None if its document is gone.
Fetched = Arrival | Unread | None


def fetch_all(
    runtime: Runtime, connector: ConnectorPlugin, claim: SourceClaim, hold: Hold, wanted: Iterable[Named]
) -> Iterator[tuple[Named, Fetched]]:
    """Fetch documents and store their bodies. Yields what became of each reference, in the order of ``wanted``.

    As many fetches run concurrently as the connector allows (``FETCH_CONCURRENCY``), within :data:`BYTES`, and as many
    bodies are stored meanwhile as the blobs allow. ``wanted`` is read only as far as there is room, so a caller can end
    it early. The first error stops all further fetches; it is raised after the running ones have ended.
    """

    def read(named: Named) -> _Unstored | Fetched:
        return _read(runtime, connector, claim, hold, *named)

    def store(item: tuple[Named, _Unstored | Fetched]) -> Fetched:
        found = item[1]
        if not isinstance(found, _Unstored):
            return found
        runtime.blobs.put_raw(found.key, found.body)
        hold.touch()
        return found.arrival

    threads, bodies = max(1, connector.FETCH_CONCURRENCY), runtime.blobs.concurrency

    def declared(named: Named) -> int:
        return named[1].size or BYTES // threads

    fetched = map_in_order(read, wanted, threads=threads, size=declared, limit=BYTES)
    with closing(fetched):  # so that nothing is being fetched after an error of the blobs
        for (named, _), outcome in map_in_order(store, fetched, threads=bodies, size=_size, limit=BYTES):
            yield named, outcome


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
                hold.touch()
                return Unread(error=error)
            time.sleep(min(getattr(error, "retry_after", None) or 0.1 * 2**attempt, 2.0))
        except Exception as error:
            return without_content(name, reference, claim, error=describe(error))
    raise AssertionError("the last try has returned")
