"""Detect an index that this process knew and that somebody has dropped from the store.

No document is to blame for that. The next worker that writes creates the index again, as a new process would.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from semantik_pipeline.errors import PipelineError, ServiceUnavailable, UsageError

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

HINT = "It is created again; `semantik verify --repair` restores its points from the ledger."


def blamed(runtime: Runtime, generation_id: int, error: Exception) -> Exception:
    """Return the error to record for documents on which the store failed with ``error``.

    If the store no longer has the generation's index, that is a ServiceUnavailable, which charges no document. This
    process then forgets what it knew of the index.
    """
    if not isinstance(error, UsageError):
        return error
    try:
        index = runtime.generation(generation_id).index
        lost = is_lost(runtime, index)
    except ServiceUnavailable as away:
        return away
    except PipelineError:
        return error
    if not lost:
        return error
    log.error("The store no longer has the index %s: %s", index, error)
    return ServiceUnavailable(f"The store no longer has the index {index}: {error}", HINT)


def is_lost(runtime: Runtime, index: str) -> bool:
    """Return whether the store has no such index, and if so forget what this process knew of it.

    Raises the store's errors.
    """
    if runtime.host.call(runtime.store.has_index, index):
        return False
    runtime.forget_index(index)
    return True
