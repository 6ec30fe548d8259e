"""Sources that this process leaves to others, because it lacks what their connector needs: the plugin, or a variable."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Seconds until a source that was left is looked at again: its options may be others by then. Longer than a command that
#: works alone waits for something that nobody can do (``operations.PATIENCE``).
LEFT = 45.0


class LeftSources:
    """What one process lacks for which sources."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[int, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def leave(self, source_id: int, reason: str) -> None:
        """Take no slice of it for :data:`LEFT` seconds."""
        with self._lock:
            self._left[source_id] = (self._clock(), reason)

    def sources(self) -> list[int]:
        """Ids of those that are not to be taken now."""
        return list(self._younger_than(LEFT))

    def reasons(self) -> dict[int, str]:
        """Source -> why it was left; told for some time beyond the next look, so that it doesn't come and go."""
        return self._younger_than(2 * LEFT)

    def _younger_than(self, seconds: float) -> dict[int, str]:
        since = self._clock() - seconds
        with self._lock:
            return {source_id: reason for source_id, (at, reason) in self._left.items() if at > since}
