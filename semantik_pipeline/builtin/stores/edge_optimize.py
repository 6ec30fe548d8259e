"""Optimise one Qdrant Edge shard, in a process of its own.

``EdgeShard.optimize`` holds the interpreter's lock for as long as it runs (30,000 points with a graph: 13 s), so the
store starts this file as a child, on a copy: ``python -m semantik_pipeline.builtin.stores.edge_optimize INDEX EDGES``.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from semantik_pipeline.documents import IndexSpec


def optimize_folder(index: Path, edges: int, deadline: float) -> None:
    """Rebuild the index in that folder in a child process. ``edges`` is HNSW's m; 0 builds no graph.

    Raises ``subprocess.SubprocessError`` if it fails or takes more than ``deadline`` seconds.
    """
    command = [sys.executable, "-m", "semantik_pipeline.builtin.stores.edge_optimize", str(index), str(edges)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    subprocess.run(
        command, check=True, timeout=deadline, stdin=subprocess.DEVNULL, capture_output=True, env=environment
    )


def _optimize(index: Path, edges: int) -> None:
    import qdrant_edge as edge

    from semantik_pipeline.builtin.stores.edge_config import shard_config

    spec = IndexSpec(**json.loads((index / "spec.json").read_text("utf-8")))
    shard = edge.EdgeShard.load(str(index / "shard"), shard_config(spec, edges))
    shard.optimize()
    shard.flush()
    shard.close()


def _die_with_parent() -> None:
    with suppress(OSError, AttributeError):  # Linux only; elsewhere an orphan finishes its copy, which is then swept
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    _die_with_parent()
    os.nice(5)
    _optimize(Path(sys.argv[1]), int(sys.argv[2]))
