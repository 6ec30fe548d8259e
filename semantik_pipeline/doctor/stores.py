"""Checks of the vector store, and of each generation's index in it."""

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

#: Seconds for opening the store and checking each index; an unavailable server is detected after 3.
OPENING = 15.0

ONE_INDEX = (
    "Set the same qdrant.url for both, or another database.url for one of them. Then run `semantik verify --repair`, "
    "which writes the missing points."
)

REPAIR = "Run `semantik verify --repair`, which writes the missing points from the ledger."


def look_at_store(patient: Patient) -> Iterator[Finding]:
    """Check that the store is reachable and each generation has an index with its dimension and enough points."""
    settings = patient.runtime.settings
    if settings.qdrant.url and not settings.store.plugin:
        yield _server(patient.runtime)
    if not patient.generations:
        return
    with Runtime(settings) as runtime:  # a separate runtime, so that the store opened here is closed here
        if settings.shared_store:
            yield from _indexes(runtime, patient.generations)
            return
        try:
            with runtime.own(), closing(runtime):
                yield from _indexes(runtime, patient.generations)
        except DataFolderInUse:
            yield well("index", "not checked, because another process has it open")


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
            "Check that qdrant.url names a running server.",
        ) from None
    said: dict[str, Any] = answer.json() if "json" in answer.headers.get("content-type", "") else {}
    version = said.get("version", "of an unknown version")
    return well("store", f"Qdrant {version} at {url}", seconds=took)


def _indexes(runtime: Runtime, generations: list[Generation]) -> Iterator[Finding]:
    call, store = runtime.host.call, runtime.store
    if runtime.settings.shared_store and "condition" not in store.capabilities:
        told = f"{store.PLUGIN_ID} has no conditional writes: a stalled worker can overwrite points of a newer revision"
        yield warn("fencing", told, "Run only one worker with this store, or use a built-in store.")
    there = set(call(store.list_indexes))
    for generation in generations:
        what = f"index of {generation.collection!r}"
        wanted = runtime.ledger.points_at_rest(generation.id)
        if generation.index not in there:
            told = f"{generation.index} is missing; according to the ledger it has {wanted:,} points"
            yield broken(what, told, REPAIR) if wanted else well(what, "none yet, because nothing is indexed")
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
        return broken(what, told, error.hint or "Run `semantik reindex --force` to build it again.")
    took = time.monotonic() - began
    found = call(store.count, generation.index)
    told = f"{generation.index}: {found:,} points, {generation.dimension} dimensions"
    if found < wanted:
        return broken(what, f"{told}; according to the ledger {wanted:,}", REPAIR, seconds=took)
    if found > 2 * wanted + 1000 and not _at_work(runtime, generation):
        return warn(what, f"{told}; according to the ledger only {wanted:,}", "Run `semantik verify`.", seconds=took)
    return well(what, told, seconds=took)


def _at_work(runtime: Runtime, generation: Generation) -> bool:
    """Whether stages still have to process documents of the generation: the ledger's count excludes these."""
    from semantik_pipeline.ledger.queue import backlog

    with runtime.ledger.read() as tx:
        found = backlog.by_stage(tx, generation_id=generation.id).values()
    return any(one["waiting"] or one["in_progress"] or one["delayed"] for one in found)


def look_at_other_indexes(patient: Patient) -> Iterator[Finding]:
    """Check that no process uses this ledger with another index, or did so lately."""
    for row in fleet.others_at_index(patient.runtime):
        told = f"{fleet.other_index_words(row)}; searches here don't find what it indexes"
        yield warn("another index", told, ONE_INDEX)


CHECKS = (
    Check(
        name="another index",
        look=look_at_other_indexes,
        remedy="Check that the database answers.",
        of_ledger=True,
    ),
    Check(
        name="store",
        look=look_at_store,
        remedy="Check that qdrant.url (or store.plugin with its options) names a running store.",
        seconds=OPENING,
        of_plugins=True,
    ),
)
