"""An index that is gone from the store, though this process knew it: somebody dropped it. No document is to blame for that,
and whoever writes next makes it again, as whoever starts anew would."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from semantik_pipeline.errors import PipelineError, ServiceUnavailable, UsageError

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

HINT = "It is created again; `semantik verify --repair` restores its points from the ledger."


def blamed(runtime: Runtime, generation_id: int, error: Exception) -> Exception:
    """The error to record for documents on which the store failed with ``error``: ServiceUnavailable, which charges none,
    if it has no index of the generation. What this process knew of that is forgotten."""
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
    """Whether the store has no such index. What this process knew of it is forgotten then. Raises what the store raises."""
    if runtime.host.call(runtime.store.has_index, index):
        return False
    runtime.forget_index(index)
    return True
