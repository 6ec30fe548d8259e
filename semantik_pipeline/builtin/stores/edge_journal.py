"""What happens to an index while a copy of it is worked on, in a file, so that the copy can catch up.

Updates of an index take turns, and what one makes of it follows from the index and the update alone; so a copy to which
they are given again, in their order, becomes what the index is.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class Journal:
    """One thread notes, in the turn of its update, and one reads. ``whole``: every update since its beginning is in it.
    It gives up on a disk with fewer free bytes than ``least_free``: updates need the room more."""

    def __init__(self, path: Path, *, least_free: int = 0) -> None:
        self.path = path
        self.whole = True
        self._least_free = least_free
        self._written, self._read = path.open("wb"), path.open("rb")
        self._noted = self._given = 0

    @property
    def behind(self) -> int:
        """Updates that were noted and not given yet."""
        return self._noted - self._given

    @contextmanager
    def noting(self, said: tuple[Any, ...] | None) -> Iterator[None]:
        """An update that the block makes: an index's method, and what it is given. One that fails, of which nobody knows
        whether the engine has done it, and one that says nothing, leave the journal without it, for good."""
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
        except Exception:  # a full disk, or it is closed: the update is made all the same
            return False
        self._noted += 1
        return True

    def updates(self) -> Iterator[tuple[str, list[Any]]]:
        """Those that are noted by now and were not given before, each once, in their order."""
        for _ in range(self.behind):
            method, *arguments = pickle.load(self._read)  # written by this process
            self._given += 1
            yield method, arguments

    def close(self) -> None:
        with suppress(OSError):  # what a full disk did not take, is tried again
            self._written.close()
        with suppress(OSError):
            self._read.close()
        with suppress(OSError):
            self.path.unlink()
