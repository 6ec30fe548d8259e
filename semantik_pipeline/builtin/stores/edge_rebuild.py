"""Rebuild an index for faster searches and less memory, while searches go on.

The engine's optimiser freezes its process, so a child runs it on a copy; the copy then takes the original's place.
Queries are served all the while but for the swap. Without a graph a rebuild takes about 0.2 ms a point, and updates
wait for it; a graph takes ten times as long, so updates go on, and are given to the copy as well when it has its graph.
"""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semantik_pipeline.builtin.stores.edge_copy import copy, settle, staging, swap
from semantik_pipeline.builtin.stores.edge_errors import full, says_full
from semantik_pipeline.builtin.stores.edge_optimize import last_rebuild, why, write_rebuilt
from semantik_pipeline.errors import PipelineError, StorageFull, TransientError

if TYPE_CHECKING:
    from pathlib import Path

    from semantik_pipeline.builtin.stores.edge_folder import EdgeFolder
    from semantik_pipeline.builtin.stores.edge_index import EdgeIndex
    from semantik_pipeline.builtin.stores.edge_journal import Journal

log = logging.getLogger(__name__)

#: A rebuilt index is rebuilt again when it has grown by this share.
GROWTH = 0.5
LONGEST_WAIT = 60.0  # seconds that updates may have to wait; else the rebuild is given up
EDGES = 16  # HNSW's m, the engine's default

#: In a copy's folder: the updates that the index had since.
JOURNAL = "updates"

#: Updates that a copy may be behind when the index is kept still for the rest, and how often it catches up before that at the
#: most.
FEW, ROUNDS = 8, 20

_AS_IT_WAS = "It is as it was, and searched all the same."


@dataclass(frozen=True, kw_only=True)
class RebuildPolicy:
    """``above`` points an index is rebuilt on disk, ``graph_above`` with an HNSW graph, within ``deadline`` seconds."""

    above: int
    graph_above: int
    deadline: float

    def edges(self, points: int, points_last: int) -> int | None:
        """HNSW's m for a rebuild now (0: no graph); None if none is due."""
        if points < self.above or points < points_last * (1 + GROWTH):
            return None
        return EDGES if points >= self.graph_above else 0


def rebuild(folder: EdgeFolder, index: EdgeIndex, policy: RebuildPolicy) -> bool:
    """Whether the index was rebuilt, by this call: not where another one is about it. What can't be is as it was; raises
    StorageFull, or TransientError with the reason."""
    if not index.rebuilding.acquire(blocking=False):
        return False
    try:
        return _rebuild(folder, index, policy)
    finally:
        index.rebuilding.release()


def _rebuild(folder: EdgeFolder, index: EdgeIndex, policy: RebuildPolicy) -> bool:
    edges = policy.edges(index.count(None), last_rebuild(index.folder)[0])
    if edges is None:
        return False
    try:
        with staging(folder, index) as staged:
            build = _with_graph if edges else _plainly
            return build(folder, index, staged, edges, policy)
    except (subprocess.SubprocessError, OSError) as error:
        raise failure(index.name, error) from error


def failure(index: str, error: subprocess.SubprocessError | OSError) -> PipelineError:
    """What it means that an index could not be rebuilt; it is as it was."""
    reason = why(error)
    if says_full(reason) or getattr(error, "errno", None) == errno.ENOSPC:
        return full(index)
    return TransientError(f"The index {index} was not optimised: {reason}.", _AS_IT_WAS)


def _plainly(folder: EdgeFolder, index: EdgeIndex, staged: Path, edges: int, policy: RebuildPolicy) -> bool:
    with index.shard.still():
        copy(folder, index, staged)
        folder.optimizers.optimize(index.name, staged, edges, min(policy.deadline, LONGEST_WAIT))
        _swap(folder, index, staged, edges=edges)
    return True


def _with_graph(folder: EdgeFolder, index: EdgeIndex, staged: Path, edges: int, policy: RebuildPolicy) -> bool:
    with index.shard.still():
        copy(folder, index, staged)
        twin = index.twin(staged)
        journal = index.shard.journal = index.journal(staged / JOURNAL)
    try:
        folder.optimizers.optimize(index.name, staged, edges, policy.deadline, nice=5)
        _write(staged, index, edges)  # what is folded while it catches up keeps the graph
        settle(staged)  # most of it, while updates go on: in the end they wait
        with _following(index):
            if journal.whole and not _catch_up(folder, journal, twin):
                log.info("The index %s changes faster than a copy with a graph can follow; it has none.", index.name)
                return False
        with index.shard.still():
            if not journal.whole:
                log.info(
                    "The index %s is another since its graph was begun; the next optimize() tries again.", index.name
                )
                return False
            with _following(index):
                _repeat(folder, journal, twin)
                _close(twin)
            journal.close()
            _swap(folder, index, staged, edges=edges)
            index.shard.unfolded = twin.shard.unfolded
        return True
    finally:
        index.shard.journal = None
        try:
            with _following(index):
                _close(twin)
        finally:
            journal.close()


@contextmanager
def _following(index: EdgeIndex) -> Iterator[None]:
    """What is wrong with a copy is told of the index: nobody knows the copy, and it is gone soon."""
    try:
        yield
    except StorageFull as error:
        raise full(index.name) from error
    except PipelineError as error:
        raise TransientError(
            f"The index {index.name} was not optimised: its copy could not follow.", _AS_IT_WAS
        ) from error


def _catch_up(folder: EdgeFolder, journal: Journal, twin: EdgeIndex) -> bool:
    """Let the copy catch up while updates go on, as long as it gets nearer. False: updates would have to wait for the rest
    for longer than they may."""
    last, given, began = sys.maxsize, 0, time.monotonic()
    for _ in range(ROUNDS):
        if not journal.whole or not FEW < journal.behind < last:
            break
        last = journal.behind
        given += last
        _repeat(folder, journal, twin)
    pace = (time.monotonic() - began) / max(given, 1)  # of all rounds: one in which the copy is folded takes long
    return journal.behind * pace <= LONGEST_WAIT


def _repeat(folder: EdgeFolder, journal: Journal, twin: EdgeIndex) -> None:
    """Give the copy the updates that the index had meanwhile."""
    for method, arguments in journal.updates():
        folder.optimizers.check()
        getattr(twin, method)(*arguments)


def _close(twin: EdgeIndex) -> None:
    with twin.shard.closed(for_good=True):
        pass


def _swap(folder: EdgeFolder, index: EdgeIndex, staged: Path, *, edges: int) -> None:
    _write(staged, index, edges)
    swap(folder, index, staged)


def _write(staged: Path, index: EdgeIndex, edges: int) -> None:
    write_rebuilt(staged, index.count(None), edges)
