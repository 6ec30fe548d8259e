"""The pipeline's stage table and the loop of a task. Read this file first.

A document goes sync → chunk → extract → embed → upsert. The ledger holds the work; the broker only carries bells. The
task that receives a stage's bell claims due documents from the ledger, works, saves, rings the next stage after the
commit, and claims again until the stage has no due unit or its time is over; then it rings itself if work is left.
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
    """A stage that processes documents.

    ``run`` runs the stage and ``prepare`` loads what it needs. ``documents`` and ``chunks`` limit its smallest claim;
    its largest claim is ``largest`` times as large. ``deadline`` is how many seconds it may work without saving
    anything.
    """

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
        largest=1,  # its claims overlap, and it is slow without a GPU
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

#: Maximum length of a loop over documents: this many time slices, but at most a minute (or one slice if longer).
#: Long loops do not delay other work, since each claim is a new decision of the fair queue. Ending a loop with work
#: left costs time: the process is idle until a later bell happens to reach it.
SLICES, MINUTE = 12, 60.0

#: Seconds between two checks for finished operations while the last stage is running.
OFTEN = 0.1

#: All queues: the stages of documents, ``sync`` (its units are sources) and ``maintenance`` (its units are ticks).
QUEUES = ("sync", *STAGES, "maintenance")


def work_on(runtime: Runtime, stage: str) -> None:
    """Run a task: work on a stage until it is dry or its time is over, then ring if work is left.

    If the stage already has its maximum of loops in this process, the bell makes one of them check for work once more.
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
    """Run one loop of a stage, one slice of a source, or maintenance; return whether work may be left."""
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
    """Return the seconds after which a loop over documents claims nothing more."""
    time_slice = settings.work.time_slice
    return max(time_slice, min(SLICES * time_slice, MINUTE))


class Settling:
    """Finishes operations between the claims of a loop, every ``seconds`` seconds.

    During a large source a stage is never dry, and a caller who waits for a small source would wait for the end of the
    loop. Checks take at most a twentieth of the time; right after units of a small source, at most half of it.
    """

    def __init__(self, runtime: Runtime, seconds: float) -> None:
        self._runtime = runtime
        self._seconds = seconds
        self._due = time.monotonic() + seconds
        self._soonest = 0.0
        self._owed = False  # whether a small source has finished since the last check

    def __call__(self, *, after_small: bool = False) -> None:
        began = time.monotonic()
        self._owed |= after_small
        if began >= (self._soonest if self._owed else self._due):
            self._owed = False
            with isolated(self._runtime, "operations"):  # a failure here must not affect the claimed units
                maintenance.settle(self._runtime)
            ended = time.monotonic()
            self._due = ended + max(self._seconds, 20 * (ended - began))
            self._soonest = ended + (ended - began)
