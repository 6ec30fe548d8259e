"""The store's second name for the index that search reads, for outsiders: ``semantik-`` and the collection's number.

A commit in the ledger decides what search reads, so a process that dies after it leaves an alias that names the index
before. What is owed is written in that commit, and maintenance pays it; doing so twice does no harm.
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
    """Let outsiders find the collection's index under its alias; returns whether they do. Left to whoever comes later
    where another process has the store, and where there is no index yet. A store without aliases has nothing to do."""
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
        view = runtime.ledger.search_view(collection)  # switched meanwhile: whoever writes last writes what is so


def tell_outsiders(runtime: Runtime, collection: str) -> None:
    """:func:`point_alias`, after the switch: a store that is away undoes nothing."""
    try:
        point_alias(runtime, collection)
    except PipelineError as error:
        log.warning("The store's alias for %s still names the previous index: %s", collection, error)


def mend(runtime: Runtime) -> None:
    """Point the aliases that a dead process, or a store that was away, left behind."""
    with runtime.ledger.read() as tx:
        owed = switching.aliases_owed(tx)
    if not owed or _is_others(runtime):
        return
    try:
        there = {*runtime.host.call(runtime.store.list_indexes)}  # what is empty has none yet
        for collection in [collection for collection, index in owed if index in there]:
            point_alias(runtime, collection)
    except PipelineError as error:
        log.info("The store's aliases are not up to date yet: %s", error)


def _is_others(runtime: Runtime) -> bool:
    """Whether another process has the store."""
    return runtime.settings.database.url is None and (runtime.owner() or {}).get("pid") not in (None, os.getpid())
