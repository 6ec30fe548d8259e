"""One Qdrant Edge shard, shared by the threads of a process.

Queries and updates run in parallel. Closing a shard makes a running query fail, so a thread that closes it waits until
no other thread is using it, and new users wait until it is done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.builtin.stores.edge_errors import damaged, translated
from semantik_pipeline.builtin.stores.edge_journal import Journal
from semantik_pipeline.errors import UsageError

if TYPE_CHECKING:
    import qdrant_edge


#: Seconds that opening waits for a shard that a dying process still holds.
LOCK_SECONDS = 10.0


class OpenShard:
    """Opens its shard on first use and keeps it open."""

    #: Points written between two flushes. The write-ahead log preserves them if the process is killed; a flush (0.5 s)
    #: lets the log be truncated, so that opening the shard again replays no more than these.
    FLUSH_EVERY = 20_000

    def __init__(self, folder: Path, opened: qdrant_edge.EdgeShard | None = None) -> None:
        self.folder = folder
        self._shard = opened
        self._turn = threading.Condition()
        self._inside = 0
        self._alone = False
        self._updates = threading.RLock()
        self._unflushed = 0
        self.journal: Journal | None = None  # records the updates while somebody needs them
        self.unfolded = 0  # points written since the last fold into files
        self._searched = float("-inf")  # time.monotonic() of the last search
        self._ended = False

    @contextmanager
    def reading(self) -> Iterator[qdrant_edge.EdgeShard]:
        """The open shard, which stays open during the block."""
        with self._turn:
            self._turn.wait_for(lambda: not self._alone)
            self._inside += 1
        try:
            with translated(self.folder.parent.name):
                yield self._open()
        finally:
            with self._turn:
                self._inside -= 1
                self._turn.notify_all()

    @contextmanager
    def searching(self) -> Iterator[qdrant_edge.EdgeShard]:
        """Like :meth:`reading`, for a search that a person waits for."""
        self._searched = time.monotonic()
        with self.reading() as shard:
            yield shard

    def searched_within(self, seconds: float) -> bool:
        return time.monotonic() - self._searched <= seconds

    @contextmanager
    def updating(self, points: int = 1, *, said: tuple[Any, ...] | None = None) -> Iterator[qdrant_edge.EdgeShard]:
        """The open shard for one update of about ``points`` points. ``said`` is what a journal records of it.

        Updates take turns: they hold the interpreter's lock all the time anyway, and turns make it possible to stop
        them (:meth:`still`).
        """
        with self._updates, self.reading() as shard:
            journal = self.journal  # read once, because its owner may remove it at any moment
            with journal.noting(said) if journal else nullcontext():
                yield shard
            self._unflushed += points
            self.unfolded += points
            if self._unflushed >= self.FLUSH_EVERY:
                shard.flush()
                self._unflushed = 0

    @contextmanager
    def still(self) -> Iterator[None]:
        """Flush, and block updates during the block; queries continue."""
        with self._updates:
            with self.reading() as shard:
                shard.flush()
                self._unflushed = 0
            yield

    @contextmanager
    def closed(self, *, for_good: bool = False) -> Iterator[None]:
        """Wait until no other thread uses the shard, close it, and let none in during the block; with ``for_good``, not
        afterwards either."""
        with self._updates:
            with self._turn:
                self._turn.wait_for(lambda: not self._alone)
                self._alone = True
                self._turn.wait_for(lambda: self._inside == 0)
            try:
                self._close()
                yield
                self._ended = self._ended or for_good
            finally:
                with self._turn:
                    self._alone = False
                    self._turn.notify_all()

    def _open(self) -> qdrant_edge.EdgeShard:
        with self._turn:
            if self._ended:
                raise UsageError(f"The index {self.folder.parent.name} was closed or dropped.")
            if self._shard is None:
                self._shard = _load(self.folder)
            return self._shard

    def _close(self) -> None:
        shard, self._shard = self._shard, None
        if shard is not None:
            with translated(self.folder.parent.name):
                shard.close()  # also flushes


def _load(folder: Path) -> qdrant_edge.EdgeShard:
    """Open the shard. The child process of a killed owner may hold it for a moment longer."""
    import qdrant_edge as edge

    patience = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return edge.EdgeShard.load(str(folder))
        except Exception as error:  # the engine's errors do not have a type of their own
            if "WouldBlock" not in str(error):
                raise damaged(folder.parent, error) from error
            if time.monotonic() > patience:
                raise
        time.sleep(0.1)
