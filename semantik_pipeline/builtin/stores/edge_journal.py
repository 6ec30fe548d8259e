"""Records an index's updates in a file while a copy of it is being worked on, so that the copy can catch up.

Updates of an index take turns, and their result depends only on the index and the update. A copy that gets the same
updates in the same order therefore becomes identical to the index.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class Journal:
    """One thread records updates, during the turn of each, and one reads them. ``whole``: it contains every update
    since it was created. It stops recording when the disk has fewer than ``least_free`` bytes free: the updates
    themselves need the space more."""

    def __init__(self, path: Path, *, least_free: int = 0) -> None:
        self.path = path
        self.whole = True
        self._least_free = least_free
        self._written, self._read = path.open("wb"), path.open("rb")
        self._noted = self._given = 0

    @property
    def behind(self) -> int:
        """Updates that are recorded but not yet read."""
        return self._noted - self._given

    @contextmanager
    def noting(self, said: tuple[Any, ...] | None) -> Iterator[None]:
        """Record the update that the block makes: an index's method and its arguments. If the update fails, so that its
        effect is unknown, or ``said`` is None, the journal is incomplete from then on."""
        try:
            yield
        except BaseException:
            self.whole = False
            raise
        self.whole = self.whole and said is not None and self._note(said)

    def _note(self, said: tuple[Any, ...]) -> bool:
        try:
            if shutil.disk_usage(self.path.parent).free < self._least_free:
                return False
            pickle.dump(said, self._written)
            self._written.flush()
        except Exception:  # the disk is full, or the file is closed; the update itself is made anyway
            return False
        self._noted += 1
        return True

    def updates(self) -> Iterator[tuple[str, list[Any]]]:
        """The updates recorded so far that have not been read, each once, in order."""
        for _ in range(self.behind):
            method, *arguments = pickle.load(self._read)  # trusted: written by this process
            self._given += 1
            yield method, arguments

    def close(self) -> None:
        with suppress(OSError):  # closing retries a write that failed on a full disk
            self._written.close()
        with suppress(OSError):
            self._read.close()
        with suppress(OSError):
            self.path.unlink()
