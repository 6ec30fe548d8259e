"""The stages of the pipeline, and the loop of a task. Read this file first.

A document goes sync → chunk → extract → embed → upsert. The ledger holds the work, the broker only rings a bell: a
task that hears the bell of a stage claims due documents from the ledger, works, saves, rings the next stage after the
commit, and claims again until the stage is dry or its time is over; then it rings itself if work is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semantik_pipeline import logs, maintenance
from semantik_pipeline.isolation import isolated
from semantik_pipeline.plugins.frames import PATIENCE
from semantik_pipeline.stages import chunk, embed, extract, sync, upsert
from semantik_pipeline.stages.claims import Claims, Prepare

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of documents: what runs it, how many documents and chunks its least claim takes, how many times as much its
    largest, and how long a piece of it may take without anything being saved, in seconds. ``prepare`` loads what it works
    with."""

    run: Callable[[Runtime, Claims], None]
    prepare: Prepare
    documents: int
    chunks: Callable[[Settings], int | None]
    largest: int = 4
    deadline: Callable[[Settings], float]


STAGES: dict[str, Stage] = {
    "chunk": Stage(
        run=chunk.run,
        prepare=chunk.prepare,
        documents=32,
        chunks=lambda settings: None,
        deadline=lambda settings: PATIENCE * settings.child.deadline_of(settings.child.max_bytes),
    ),
    "extract": Stage(
        run=extract.run,
        prepare=extract.prepare,
        documents=64,
        chunks=lambda settings: 256,
        deadline=lambda settings: PATIENCE * settings.child.extract_deadline,
    ),
    "embed": Stage(
        run=embed.run,
        prepare=embed.prepare,
        documents=256,
        chunks=lambda settings: settings.embed.pool_chunks,
        largest=1,  # its claims overlap, and it is slow where there is no GPU
        deadline=lambda settings: settings.embed.progress_timeout,
    ),
    "upsert": Stage(
        run=upsert.run,
        prepare=upsert.prepare,
        documents=128,
        chunks=lambda settings: 4 * settings.upsert.batch_size,
        deadline=lambda settings: settings.upsert.progress_timeout,
    ),
}

#: Time slices that a loop over documents lasts, up to a minute. Others don't wait for its end, since each claim is the fair
#: queue's choice anew; and whoever ends a loop with work left is idle until one of the next bells happens to reach this
#: process.
SLICES, MINUTE = 12, 60.0

#: Seconds between two looks for operations that are done, while the last stage goes on.
OFTEN = 0.1

#: Every queue: the stages of documents, and those whose units are sources and ticks.
QUEUES = ("sync", *STAGES, "maintenance")


def work_on(runtime: Runtime, stage: str) -> None:
    """What a task does: work on a stage until it is dry or its time is over, then ring for what is left.

    A bell that rings while enough loops of the stage run in this process makes one of them look once more.
    """
    with runtime.gates.entering(stage) as gate:
        left = False
        while gate.open(again=not left):
            with logs.bound(stage=stage):
                left = _run(runtime, stage)
    if gate.entered:
        maintenance.settle(runtime)
    if left and not runtime.idle:
        runtime.ring(stage)


def _run(runtime: Runtime, name: str) -> bool:
    """One loop of a stage, or a slice of sources; returns whether work may be left."""
    settings, began = runtime.settings, time.monotonic()
    if name == "maintenance":
        return maintenance.work(runtime)
    if name == "sync":
        return sync.run(runtime, began + settings.work.time_slice)
    stage = STAGES[name]
    claims = Claims(
        runtime,
        name,
        limit=stage.documents,
        max_chunks=stage.chunks(settings),
        largest=stage.largest,
        deadline=stage.deadline(settings),
        until=began + longest_loop(settings),
        prepare=stage.prepare,
        between=Settling(runtime, OFTEN if name == "upsert" else settings.work.time_slice),
    )
    stage.run(runtime, claims)
    return not claims.dry


def longest_loop(settings: Settings) -> float:
    """Seconds after which a loop over documents begins nothing more."""
    time_slice = settings.work.time_slice
    return max(time_slice, min(SLICES * time_slice, MINUTE))


class Settling:
    """Finishes operations between the claims of a loop, every so many seconds: beside a large source a stage is never dry,
    and who waits for a small one would wait for the loop's end. It takes a twentieth of the time at most; right after units
    of a small source, up to half of it."""

    def __init__(self, runtime: Runtime, seconds: float) -> None:
        self._runtime = runtime
        self._seconds = seconds
        self._due = time.monotonic() + seconds
        self._soonest = 0.0
        self._owed = False  # a small source has come to its end since

    def __call__(self, *, after_small: bool = False) -> None:
        began = time.monotonic()
        self._owed |= after_small
        if began >= (self._soonest if self._owed else self._due):
            self._owed = False
            with isolated(self._runtime, "operations"):  # nothing of that is of the claims' units
                maintenance.settle(self._runtime)
            ended = time.monotonic()
            self._due = ended + max(self._seconds, 20 * (ended - began))
            self._soonest = ended + (ended - began)
