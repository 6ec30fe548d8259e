"""Fetch documents from their source, several at a time, and decide what one becomes that cannot be fetched."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING

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

#: Bytes of documents that are fetched concurrently, by the sizes in their references. A larger document is fetched alone.
BYTES = 64 * 2**20

#: Documents per thread that are waiting for a slower one before them, since results come in the order of references.
AHEAD = 4


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A document that could not be read now. Its content may be unchanged, so what is indexed of it stays."""

    error: Exception


#: What :func:`fetch` returns.
Fetched = Arrival | Unread | None


def fetch_all(
    runtime: Runtime,
    connector: ConnectorPlugin,
    claim: SourceClaim,
    hold: Hold,
    wanted: Iterable[tuple[str, DocumentReference]],
) -> Iterator[tuple[str, DocumentReference, Fetched]]:
    """Yield each name and reference with what :func:`fetch` returned, in the order of ``wanted``.

    As many fetches run concurrently as the connector allows (``FETCH_CONCURRENCY``), within :data:`BYTES`. ``wanted``
    is read only as far as there is room, so a caller can end it early. The first error stops all further fetches; it is
    raised after the running ones have ended.
    """
    threads = max(1, connector.FETCH_CONCURRENCY)
    if threads == 1:
        for name, reference in wanted:
            yield name, reference, fetch(runtime, connector, claim, hold, name, reference)
        return
    running: deque[tuple[str, DocumentReference, Future[Fetched]]] = deque()
    size_of_unknown = BYTES // threads
    size = 0  # of all that are running

    def first() -> tuple[str, DocumentReference, Fetched]:
        nonlocal size
        name, reference, future = running[0]
        fetched = future.result()
        running.popleft()
        size -= reference.size or size_of_unknown
        return name, reference, fetched

    with ThreadPoolExecutor(threads, thread_name_prefix="semantik-fetch") as pool:
        try:
            for name, reference in wanted:
                more = reference.size or size_of_unknown
                while running and (len(running) >= threads * AHEAD or size + more > BYTES):
                    yield first()
                log_context = copy_context()
                future = pool.submit(log_context.run, fetch, runtime, connector, claim, hold, name, reference)
                running.append((name, reference, future))
                size += more
            while running:
                yield first()
        finally:
            for *_, future in running:
                future.cancel()


def fetch(
    runtime: Runtime,
    connector: ConnectorPlugin,
    claim: SourceClaim,
    hold: Hold,
    name: str,
    reference: DocumentReference,
) -> Fetched:
    """Fetch one document and store its body. Returns None if the document is gone.

    A document without a body that could be indexed is an Arrival that gives the reason.
    """
    for attempt in range(FETCHES):
        hold.check()
        try:
            document = runtime.host.call(connector.fetch, reference).check()
            runtime.blobs.put_raw(document.content_hash, document.body)
            hold.touch()
            return arrival_of(name, document, reference)
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
