"""A fetch from a remote that may take longer than a slice of a sync. It continues in a thread while slices end."""

from __future__ import annotations

import threading
import time

from semantik_pipeline.builtin.connectors.git_remote import Remote, Tip
from semantik_pipeline.errors import ServiceUnavailable

#: Seconds for which the error of a finished fetch is still reported to new callers.
FRESH = 60.0

#: Seconds without progress (a byte received or an object indexed) after which a fetch is given up.
SILENCE = 240.0


class Fetch:
    """Gets the newest commit of a remote's branch and its objects, in a daemon thread."""

    def __init__(self, remote: Remote, branch: str | None) -> None:
        self._remote = remote
        self._branch = branch
        self._done = threading.Event()
        self._tip: Tip | None = None
        self._error: Exception | None = None
        self.moved = self.ended = time.monotonic()
        self.cancelled = False
        threading.Thread(target=self._run, name=f"fetch {remote.name}", daemon=True).start()

    def _run(self) -> None:
        try:
            self._tip = self._remote.tip(self._branch, self._moves)
        except Exception as error:
            self._error = error
        self.ended = time.monotonic()
        self._done.set()

    def _moves(self) -> None:
        self.moved = time.monotonic()
        if self.cancelled:
            raise ServiceUnavailable(f"The fetch of {self._remote.name} was cancelled.")

    def wait(self, seconds: float) -> bool:
        """Wait up to this many seconds. Returns whether the fetch has ended. Raises ServiceUnavailable if it makes no
        progress."""
        if self._done.wait(seconds):
            return True
        if time.monotonic() - self.moved > SILENCE:
            self.cancelled = True  # takes effect as soon as it makes progress again; its errors no longer matter
            raise ServiceUnavailable(f"{self._remote.name} has sent nothing for {SILENCE:.0f} seconds.")
        return False

    def result(self) -> Tip | None:
        """Return or raise what :meth:`Remote.tip` did. Only valid once the fetch has ended."""
        if self._error is not None:
            raise self._error
        return self._tip

    @property
    def to_join(self) -> bool:
        """Whether a new caller can use this fetch: it is in progress, or has failed just now. The result of a
        successful fetch may be outdated."""
        if not self._done.is_set():
            return True
        return self._error is not None and not self.cancelled and time.monotonic() - self.ended < FRESH


class Fetching:
    """The single fetch of a connector instance. Callers that come while it is in progress wait for it, too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: Fetch | None = None

    def join(self, remote: Remote, branch: str | None) -> Fetch:
        """The fetch in progress, or a new one."""
        with self._lock:
            if self._current is None or not self._current.to_join:
                self._current = Fetch(remote, branch)
            return self._current

    def leave(self, fetch: Fetch) -> None:
        """Forget the fetch, because its result was taken."""
        with self._lock:
            if self._current is fetch:
                self._current = None

    def cancel(self) -> None:
        with self._lock:
            if self._current is not None:
                self._current.cancelled = True
