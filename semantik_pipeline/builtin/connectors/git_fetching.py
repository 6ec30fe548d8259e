"""A fetch from a remote that may take longer than a slice of a sync: it goes on in a thread while slices end."""

from __future__ import annotations

import threading
import time

from semantik_pipeline.builtin.connectors.git_remote import Remote, Tip
from semantik_pipeline.errors import ServiceUnavailable

#: Seconds after which the error of a fetch that nobody waited for is no news any more.
FRESH = 60.0

#: Seconds without a byte, or an object indexed, after which nobody waits for a fetch.
SILENCE = 240.0


class Fetch:
    """Asks a remote where its branch stands and brings its objects, in a thread of its own that keeps no process."""

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
        """Whether it has ended within so many seconds. Raises ServiceUnavailable if it stands still."""
        if self._done.wait(seconds):
            return True
        if time.monotonic() - self.moved > SILENCE:
            self.cancelled = True  # as soon as it moves again; its errors are of use to nobody
            raise ServiceUnavailable(f"{self._remote.name} has sent nothing for {SILENCE:.0f} seconds.")
        return False

    def result(self) -> Tip | None:
        """What :meth:`Remote.tip` returned or raised, once it has ended."""
        if self._error is not None:
            raise self._error
        return self._tip

    @property
    def to_join(self) -> bool:
        """It is under way, or has failed just now. Where one that ended well stood, may be old."""
        if not self._done.is_set():
            return True
        return self._error is not None and not self.cancelled and time.monotonic() - self.ended < FRESH


class Fetching:
    """The one fetch of an instance: whoever asks while it is under way waits for it, too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: Fetch | None = None

    def join(self, remote: Remote, branch: str | None) -> Fetch:
        """The fetch under way, or a new one."""
        with self._lock:
            if self._current is None or not self._current.to_join:
                self._current = Fetch(remote, branch)
            return self._current

    def leave(self, fetch: Fetch) -> None:
        """Its result was taken."""
        with self._lock:
            if self._current is fetch:
                self._current = None

    def cancel(self) -> None:
        with self._lock:
            if self._current is not None:
                self._current.cancelled = True
