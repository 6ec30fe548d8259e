"""The vector store, and the index of each generation in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from semantik_pipeline import fleet
from semantik_pipeline.doctor.examination import Check, Patient
from semantik_pipeline.doctor.findings import Finding, broken, warn, well
from semantik_pipeline.documents import SearchRequest
from semantik_pipeline.errors import DataFolderInUse, PipelineError, ServiceUnavailable
from semantik_pipeline.ledger.catalog.collections import Generation
from semantik_pipeline.runtime import Runtime

#: Seconds that opening the store and asking for each index may take; a server that is away is found out in 3.
OPENING = 15.0

ONE_INDEX = (
    "Set one qdrant.url for both, or another database.url for one of them; then `semantik verify --repair` writes what the"
    " index lacks."
)

REPAIR = "Run `semantik verify --repair`: it writes the points again from the ledger."


def look_at_store(patient: Patient) -> Iterator[Finding]:
    """Reachable; each generation's index is there, of its dimension, with about as many points as the ledger says."""
    settings = patient.runtime.settings
    if settings.qdrant.url and not settings.store.plugin:
        yield _server(patient.runtime)
    if not patient.generations:
        return
    with Runtime(settings) as runtime:  # of its own: a store that is opened here is closed here
        if settings.shared_store:
            yield from _indexes(runtime, patient.generations)
            return
        try:
            with runtime.own(), closing(runtime):
                yield from _indexes(runtime, patient.generations)
        except DataFolderInUse:
            yield well("index", "the process that owns the data folder has it; it is not looked at")


def _server(runtime: Runtime) -> Finding:
    import httpx

    url = str(runtime.settings.qdrant.url).rstrip("/")
    try:
        with httpx.Client(timeout=3.0) as client:
            began = time.monotonic()
            answer = client.get(url)
            took = time.monotonic() - began
    except httpx.HTTPError as error:
        raise ServiceUnavailable(
            f"Qdrant at {url} does not answer: {error or type(error).__name__}",
            "See that qdrant.url names a server that runs.",
        ) from None
    said: dict[str, Any] = answer.json() if "json" in answer.headers.get("content-type", "") else {}
    version = said.get("version", "of an unknown version")
    return well("store", f"Qdrant {version} at {url}", seconds=took)


def _indexes(runtime: Runtime, generations: list[Generation]) -> Iterator[Finding]:
    call, store = runtime.host.call, runtime.store
    if runtime.settings.shared_store and "condition" not in store.capabilities:
        told = f"{store.PLUGIN_ID} knows no conditional writes: a worker that was held up can overwrite a newer revision's points"
        yield warn("fencing", told, "Run one worker with this store, or one of the built-in stores.")
    there = set(call(store.list_indexes))
    for generation in generations:
        what = f"index of {generation.collection!r}"
        wanted = runtime.ledger.points_at_rest(generation.id)
        if generation.index not in there:
            told = f"{generation.index} is missing; the ledger has {wanted:,} points for it"
            yield broken(what, told, REPAIR) if wanted else well(what, "none yet: nothing is indexed")
            continue
        yield _index(runtime, generation, what, wanted)


def _index(runtime: Runtime, generation: Generation, what: str, wanted: int) -> Finding:
    import numpy as np

    call, store = runtime.host.call, runtime.store
    probe = SearchRequest(vector=np.eye(1, generation.dimension, dtype=np.float32)[0], limit=1)
    began = time.monotonic()
    try:
        call(store.search, generation.index, [probe])
    except ServiceUnavailable:
        raise
    except PipelineError as error:
        told = f"{generation.index} can't be searched with {generation.dimension} dimensions: {error.message}"
        return broken(what, told, error.hint or "`semantik reindex --force` builds it anew.")
    took = time.monotonic() - began
    found = call(store.count, generation.index)
    told = f"{generation.index}: {found:,} points, {generation.dimension} dimensions"
    if found < wanted:
        return broken(what, f"{told}; the ledger has {wanted:,}", REPAIR, seconds=took)
    if found > 2 * wanted + 1000 and not _at_work(runtime, generation):
        return warn(what, f"{told}; the ledger has only {wanted:,}", "Run `semantik verify`.", seconds=took)
    return well(what, told, seconds=took)


def _at_work(runtime: Runtime, generation: Generation) -> bool:
    """Whether stages are still to work on documents of it: the ledger counts only those at rest."""
    from semantik_pipeline.ledger.queue import backlog

    with runtime.ledger.read() as tx:
        found = backlog.by_stage(tx, generation_id=generation.id).values()
    return any(one["waiting"] or one["in_progress"] or one["delayed"] for one in found)


def look_at_other_indexes(patient: Patient) -> Iterator[Finding]:
    """One ledger has one index: no process works, or lately worked, on it with another."""
    for row in fleet.others_at_index(patient.runtime):
        told = f"{fleet.other_index_words(row)}: what it indexes is not found here"
        yield warn("another index", told, ONE_INDEX)


CHECKS = (
    Check(
        name="another index",
        look=look_at_other_indexes,
        remedy="See that the ledger answers.",
        of_ledger=True,
    ),
    Check(
        name="store",
        look=look_at_store,
        remedy="See that qdrant.url (or store.plugin and its options) names a store that runs.",
        seconds=OPENING,
        of_plugins=True,
    ),
)
