"""Rebuilds an index for faster searches and less memory, while searches continue.

The engine's optimizer blocks its process, so a child process runs it on a copy, which then takes the original's place.
Queries are served throughout, except during the swap. A rebuild without a graph takes about 0.2 ms per point, and
updates wait for it. A graph takes ten times as long, so updates continue, and the copy gets them when it has its graph.
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
LONGEST_WAIT = 60.0  # seconds that updates may have to wait; if it would take longer, the rebuild is abandoned
EDGES = 16  # HNSW's m, the engine's default

#: File in a copy's folder with the updates that the index received since it was copied.
JOURNAL = "updates"

#: How many updates a copy may be behind when the index is kept still for the rest, and the most rounds of catching up
#: before that.
FEW, ROUNDS = 8, 20

_AS_IT_WAS = "It is unchanged, and searches continue to use it."


@dataclass(frozen=True, kw_only=True)
class RebuildPolicy:
    """An index is rebuilt on disk from ``above`` points on, with an HNSW graph from ``graph_above`` points on, within
    ``deadline`` seconds."""

    above: int
    graph_above: int
    deadline: float

    def edges(self, points: int, points_last: int) -> int | None:
        """HNSW's m for a rebuild now (0: no graph); None if no rebuild is due."""
        if points < self.above or points < points_last * (1 + GROWTH):
            return None
        return EDGES if points >= self.graph_above else 0


def rebuild(folder: EdgeFolder, index: EdgeIndex, policy: RebuildPolicy) -> bool:
    """Rebuild the index if that is due. Returns whether this call rebuilt it; False if another call is doing so.

    On failure the index stays as it was; raises StorageFull, or TransientError with the reason.
    """
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
    """The error to raise when an index could not be rebuilt; the index is unchanged."""
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
        _write(staged, index, edges)  # so that folds during catching up keep the graph
        settle(staged)  # writes most of it while updates continue; they wait for the rest at the end
        with _following(index):
            if journal.whole and not _catch_up(folder, journal, twin):
                log.info(
                    "The index %s changes faster than a copy with a graph can be updated, so it gets no graph.",
                    index.name,
                )
                return False
        with index.shard.still():
            if not journal.whole:
                log.info(
                    "Not all updates of the index %s could be recorded while its graph was built; the next optimize()"
                    " tries again.",
                    index.name,
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
    """Report errors of a copy as errors of its index: the copy is unknown to the caller and removed soon."""
    try:
        yield
    except StorageFull as error:
        raise full(index.name) from error
    except PipelineError as error:
        raise TransientError(
            f"The index {index.name} was not optimised: its copy could not be updated.", _AS_IT_WAS
        ) from error


def _catch_up(folder: EdgeFolder, journal: Journal, twin: EdgeIndex) -> bool:
    """Let the copy catch up while updates continue, as long as the distance shrinks. False if updates would have to
    wait longer for the rest than LONGEST_WAIT."""
    last, given, began = sys.maxsize, 0, time.monotonic()
    for _ in range(ROUNDS):
        if not journal.whole or not FEW < journal.behind < last:
            break
        last = journal.behind
        given += last
        _repeat(folder, journal, twin)
    pace = (time.monotonic() - began) / max(given, 1)  # averaged over all rounds: a round with a fold takes long
    return journal.behind * pace <= LONGEST_WAIT


def _repeat(folder: EdgeFolder, journal: Journal, twin: EdgeIndex) -> None:
    """Apply to the copy the updates that the index received meanwhile."""
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
