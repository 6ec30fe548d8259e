"""Optimizes one Qdrant Edge shard in a process of its own.

``EdgeShard.optimize`` holds the interpreter's lock for its whole run (30,000 points with a graph: 13 s), so the store
runs this file as a child process, on a closed shard or on a copy:
``python -m semantik_pipeline.builtin.stores.edge_optimize INDEX EDGES SEGMENT_KB NICE PARENT``.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from semantik_pipeline.documents import IndexSpec

#: File in an index's folder with the number of points at its last rebuild, and the graph's m (HNSW).
REBUILT = "rebuilt.json"

#: What the child runs.
MODULE = ["-m", "semantik_pipeline.builtin.stores.edge_optimize"]

#: Kilobytes of vectors in a segment if there is no limit.
UNLIMITED_KB = 10**9


def why(error: subprocess.SubprocessError | OSError) -> str:
    """Why an index was not optimized, in words that are the same each time: without the command or the copy's path."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took more than {error.timeout:g} s"
    if isinstance(error, subprocess.CalledProcessError):
        lines = (error.stderr or b"").decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:500] if lines else f"its process ended with code {error.returncode}"
    return getattr(error, "strerror", None) or str(error)[:500]


def last_rebuild(index: Path) -> tuple[int, int]:
    """The number of points at the last rebuild of the index in this folder, and the graph's m (0: no graph).

    Both are 0 if there was no rebuild or the file is damaged: the next rebuild replaces it, and updates don't need it.
    """
    try:
        said = json.loads((index / REBUILT).read_text("utf-8"))
        return int(said["points"]), int(said.get("edges", 0))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0, 0


def write_rebuilt(index: Path, points: int, edges: int) -> None:
    draft = index / f"{REBUILT}.new"
    draft.write_text(json.dumps({"points": points, "edges": edges}), "utf-8")
    draft.replace(index / REBUILT)


class Optimizers:
    """The child processes that optimize the indexes of one store, until it is closed."""

    def __init__(self) -> None:
        self._running: dict[subprocess.Popen[bytes], str] = {}
        self._ended = False
        self._lock = threading.Lock()

    def optimize(
        self, name: str, folder: Path, edges: int, deadline: float, *, segment_kb: int = UNLIMITED_KB, nice: int = 0
    ) -> None:
        """Rebuild the index ``name``, or a copy of it, in ``folder``. ``edges`` is HNSW's m; 0 builds no graph.
        Segments are merged up to ``segment_kb`` of vectors. ``nice`` is above 0 if nobody waits for the result.

        Raises ``subprocess.SubprocessError`` if it fails, takes more than ``deadline`` seconds, or is stopped.
        """
        command = [sys.executable, *MODULE, str(folder), *map(str, (edges, segment_kb, nice, os.getpid()))]
        child = self._start(name, command)
        try:
            _, told = child.communicate(timeout=deadline)
        finally:
            child.kill()  # does nothing if it has exited
            child.communicate()
            with self._lock:
                del self._running[child]
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, command, stderr=told)

    def end(self, name: str | None = None) -> None:
        """Stop the child processes of an index at once; without a name, stop all and let no others start."""
        with self._lock:
            self._ended = self._ended or name is None
            for child, index in self._running.items():
                if name in (None, index):
                    child.kill()

    @property
    def ended(self) -> bool:
        return self._ended

    def check(self) -> None:
        """Raise ``subprocess.SubprocessError`` if no process may be started any more."""
        if self._ended:
            raise subprocess.SubprocessError("the store is being closed")

    def _start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
        with self._lock:
            self.check()
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment,
            )
            self._running[child] = name
        return child


def _optimize(index: Path, edges: int, segment_kb: int) -> None:
    import qdrant_edge as edge

    from semantik_pipeline.builtin.stores.edge_config import shard_config

    for left in (index / "shard" / "temp_segments").glob("*"):  # left by a killed process, not removed
        shutil.rmtree(left)
    spec = IndexSpec(**json.loads((index / "spec.json").read_text("utf-8")))
    shard = edge.EdgeShard.load(str(index / "shard"), shard_config(spec, edges, segment_kb))
    shard.optimize()
    shard.flush()
    shard.close()


def _die_with(parent: int) -> None:
    with suppress(OSError, AttributeError):  # Linux only; elsewhere an orphan finishes its work
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # the parent died before the call above
        sys.exit("The process that started this has ended.")


if __name__ == "__main__":
    _die_with(int(sys.argv[5]))
    os.nice(int(sys.argv[4]))
    _optimize(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
