"""Rebuild an index for faster searches and less memory, while searches go on.

The engine's optimiser freezes its process, so a child runs it on a copy; the copy then takes the original's place.
Queries are served all the while but for the swap. Without a graph a rebuild takes about 0.2 ms a point, and updates
wait for it; a graph takes ten times as long, so updates go on, and if there was one the copy is out of date and dropped.
"""

from __future__ import annotations

import errno
import json
import logging
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semantik_pipeline.builtin.stores.edge_copy import copy, staging, swap
from semantik_pipeline.builtin.stores.edge_errors import full, says_full
from semantik_pipeline.builtin.stores.edge_optimize import REBUILT, why
from semantik_pipeline.errors import PipelineError, TransientError

if TYPE_CHECKING:
    from pathlib import Path

    from semantik_pipeline.builtin.stores.edge_folder import EdgeFolder
    from semantik_pipeline.builtin.stores.edge_index import EdgeIndex

log = logging.getLogger(__name__)

#: A rebuilt index is rebuilt again when it has grown by this share.
GROWTH = 0.5
LONGEST_WAIT = 60.0  # seconds that updates may have to wait; the rebuild is given up then
EDGES = 16  # HNSW's m, the engine's default


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
    """Whether the index was rebuilt. What can't be is as it was; raises StorageFull, or TransientError with the reason."""
    edges = policy.edges(index.count(None), _points_last(index.folder))
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
    return TransientError(
        f"The index {index} was not optimised: {reason}.", "It is as it was, and searched all the same."
    )


def _plainly(folder: EdgeFolder, index: EdgeIndex, staged: Path, edges: int, policy: RebuildPolicy) -> bool:
    with index.shard.still():
        copy(folder, index, staged)
        folder.optimizers.optimize(index.name, staged, edges, min(policy.deadline, LONGEST_WAIT))
        _swap(folder, index, staged, edges=edges)
    return True


def _with_graph(folder: EdgeFolder, index: EdgeIndex, staged: Path, edges: int, policy: RebuildPolicy) -> bool:
    with index.shard.still():
        copy(folder, index, staged)
        updates = index.shard.updates
    folder.optimizers.optimize(index.name, staged, edges, policy.deadline, nice=5)
    with index.shard.still():
        if index.shard.updates != updates:
            log.info("The index %s changed while its graph was built; the next optimize() tries again.", index.name)
            return False
        _swap(folder, index, staged, edges=edges)
    return True


def _swap(folder: EdgeFolder, index: EdgeIndex, staged: Path, *, edges: int) -> None:
    (staged / REBUILT).write_text(json.dumps({"points": index.count(None), "edges": edges}), "utf-8")
    swap(folder, index, staged)


def _points_last(index: Path) -> int:
    try:
        return json.loads((index / REBUILT).read_text("utf-8"))["points"]
    except FileNotFoundError:
        return 0
