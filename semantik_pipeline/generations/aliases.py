"""Maintain the store's alias for the index that search reads: ``semantik-`` and the collection's number.

The alias is for external readers only. A commit in the ledger decides what search reads, so a process that dies after
that commit leaves an alias that names the previous index. The commit also records that the alias must be updated.
Maintenance then updates it; doing so twice does no harm.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from semantik_pipeline.errors import PipelineError
from semantik_pipeline.ledger.generations import switching

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)


def point_alias(runtime: Runtime, collection: str) -> bool:
    """Point the alias at the collection's index. Returns whether it points there now.

    Returns False, and leaves the work to a later caller, if another process owns the store or the index does not exist
    yet. For a store without aliases there is nothing to do.
    """
    if _is_others(runtime):
        return False
    view = runtime.ledger.search_view(collection)
    while True:
        generation = runtime.generation(view.generation_id)
        if runtime.existing_index(generation) is None:
            return False
        runtime.host.call(runtime.store.point_alias, f"semantik-{generation.collection_id}", view.index)
        with runtime.ledger.write() as tx:
            if switching.alias_pointed(tx, view.generation_id):
                return True
        view = runtime.ledger.search_view(collection)  # search was switched meanwhile: point at the new index


def tell_outsiders(runtime: Runtime, collection: str) -> None:
    """Call :func:`point_alias` after a switch. An unreachable store does not undo the switch."""
    try:
        point_alias(runtime, collection)
    except PipelineError as error:
        log.warning("The store's alias for %s still names the previous index: %s", collection, error)


def mend(runtime: Runtime) -> None:
    """Point the aliases that a dead process or an unreachable store left outdated."""
    with runtime.ledger.read() as tx:
        owed = switching.aliases_owed(tx)
    if not owed or _is_others(runtime):
        return
    try:
        there = {*runtime.host.call(runtime.store.list_indexes)}  # an empty generation has no index yet
        for collection in [collection for collection, index in owed if index in there]:
            point_alias(runtime, collection)
    except PipelineError as error:
        log.info("The store's aliases are not up to date yet: %s", error)


def _is_others(runtime: Runtime) -> bool:
    """Return whether another process owns the embedded store."""
    return runtime.settings.database.url is None and (runtime.owner() or {}).get("pid") not in (None, os.getpid())
