"""One Qdrant Edge shard, shared by the threads of a process.

Queries and updates run side by side; closing a shard under one of them would make it fail (FACTS: "closing it under
a running query raises"), so whoever closes waits until nobody is inside, and later comers wait for him.
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


#: How long opening waits for a shard that a dying process still has.
LOCK_SECONDS = 10.0


class OpenShard:
    """Opens its shard at the first use and keeps it open."""

    #: Points written between two flushes. The write-ahead log keeps them through a kill; a flush (0.5 s) lets the
    #: log be cut, so that opening the shard again replays no more than these.
    FLUSH_EVERY = 20_000

    def __init__(self, folder: Path, opened: qdrant_edge.EdgeShard | None = None) -> None:
        self.folder = folder
        self._shard = opened
        self._turn = threading.Condition()
        self._inside = 0
        self._alone = False
        self._updates = threading.RLock()
        self._unflushed = 0
        self.journal: Journal | None = None  # of the updates, while somebody wants one
        self.unfolded = 0  # points written since they were last folded into files
        self._searched = float("-inf")  # on time.monotonic()
        self._ended = False

    @contextmanager
    def reading(self) -> Iterator[qdrant_edge.EdgeShard]:
        """The open shard, which stays open for the length of the block."""
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
        """:meth:`reading` for somebody who waits for hits."""
        self._searched = time.monotonic()
        with self.reading() as shard:
            yield shard

    def searched_within(self, seconds: float) -> bool:
        return time.monotonic() - self._searched <= seconds

    @contextmanager
    def updating(self, points: int = 1, *, said: tuple[Any, ...] | None = None) -> Iterator[qdrant_edge.EdgeShard]:
        """The open shard for one update of about that many points; updates take turns. ``said``: what a journal notes of it.

        They hold the interpreter's lock all the while in any case, and a still moment can be had (:meth:`still`).
        """
        with self._updates, self.reading() as shard:
            journal = self.journal  # read once: who wanted it gives it up at any moment
            with journal.noting(said) if journal else nullcontext():
                yield shard
            self._unflushed += points
            self.unfolded += points
            if self._unflushed >= self.FLUSH_EVERY:
                shard.flush()
                self._unflushed = 0

    @contextmanager
    def still(self) -> Iterator[None]:
        """Flush, and let no update in for the length of the block; queries go on."""
        with self._updates:
            with self.reading() as shard:
                shard.flush()
                self._unflushed = 0
            yield

    @contextmanager
    def closed(self, *, for_good: bool = False) -> Iterator[None]:
        """Wait until nobody is inside, close the shard, and let nobody in for the length of the block; ``for_good``:
        nor afterwards."""
        with self._updates:
            with self._turn:
                self._turn.wait_for(lambda: not self._alone)
                self._alone = True
                self._turn.wait_for(lambda: self._inside == 0)
            try:
                self._close()
                yield
                self._ended = for_good
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
                shard.close()  # flushes, too


def _load(folder: Path) -> qdrant_edge.EdgeShard:
    """Open the shard. The child of a killed owner may have it for a moment longer."""
    import qdrant_edge as edge

    patience = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return edge.EdgeShard.load(str(folder))
        except Exception as error:  # the engine's errors have no type of their own
            if "WouldBlock" not in str(error):
                raise damaged(folder.parent, error) from error
            if time.monotonic() > patience:
                raise
        time.sleep(0.1)
