"""Fetching a document from its source: what it becomes when it can't be had."""

from __future__ import annotations

import time
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

#: Tries of one document within a slice before it counts as unread; the next sync tries it again.
FETCHES = 3


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A document that could not be read now, which says nothing of what it holds."""

    error: Exception


def fetch(
    runtime: Runtime,
    connector: ConnectorPlugin,
    claim: SourceClaim,
    hold: Hold,
    name: str,
    reference: DocumentReference,
) -> Arrival | Unread | None:
    """The document with its body stored; None if it is gone. What has no body that could be indexed is an arrival that
    says why."""
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
