"""Length-sorted micro-batches under a token budget, which limits padding and memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence


class TokenBatches:
    """Items given by their lengths in tokens, longest first, so that an item too big for the memory fails early.
    Several threads may take batches."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = lengths
        self.tokens = sum(lengths)
        self._left = list(range(len(lengths)))
        self._sort()
        self._lock = threading.Lock()

    def take(self, budget: int) -> list[int]:
        """Indices of the next batch, longest first; empty when nothing is left.

        A batch holds as many items as fit ``budget`` tokens when all are padded to the first one, but at least one.
        """
        with self._lock:
            if not self._left:
                return []
            count = max(1, budget // max(1, self.lengths[self._left[0]]))
            batch, self._left = self._left[:count], self._left[count:]
            return batch

    def put_back(self, batch: list[int]) -> None:
        """Return a batch that failed; its items are taken again in smaller batches."""
        with self._lock:
            self._left += batch
            self._sort()

    def drop(self) -> None:
        """Discard the remaining items, so that every further ``take`` is empty."""
        with self._lock:
            self._left = []

    def _sort(self) -> None:
        self._left.sort(key=lambda index: (-self.lengths[index], index))
