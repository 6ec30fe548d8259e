"""Renews the leases of a process from an OS thread, while the work makes progress within its stage's deadline."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from semantik_pipeline.errors import LeaseLost, PipelineError
from semantik_pipeline.ledger.queue.renewals import Renewal

log = logging.getLogger(__name__)

#: Seconds until the next renewal if another transaction had locked some rows of a lease.
SOON = 0.5


class Hold:
    """A lease that this process holds.

    Call :meth:`touch` after saving each piece of work, and :meth:`check` before any step that takes long.
    """

    def __init__(self, token: str, renew: Callable[[], Renewal], deadline: float) -> None:
        self.token = token
        self.renew = renew
        self.deadline = deadline
        self.lost = False
        self.touch()

    def touch(self) -> None:
        """Restart the deadline, after some work was saved."""
        self.expires = time.monotonic() + self.deadline

    @property
    def over(self) -> bool:
        """Whether the lease is no longer renewed: the last renewal found no rows, or the deadline has passed."""
        return self.lost or time.monotonic() > self.expires

    def check(self) -> None:
        """Raise LeaseLost if the lease is :attr:`over`."""
        if self.over:
            raise LeaseLost(
                f"The lease {self.token[:8]} was lost: the work took too long, or a newer revision arrived."
            )


class Keeper:
    """Renews the leases of this process every ``interval`` seconds."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._holds: dict[str, Hold] = {}
        self._told: set[str] = set()  # tokens whose failed release was logged as a warning
        self._owed: dict[str, Callable[[], None]] = {}  # token -> function that releases the units
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, token: str, renew: Callable[[], Renewal], deadline: float) -> Iterator[Hold]:
        """Renew the lease while the context is open. ``renew`` must not wait for locks; ``deadline`` is in seconds."""
        hold = Hold(token, renew, deadline)
        with self._lock:
            self._holds[token] = hold
        self._begin()
        try:
            yield hold
        finally:
            with self._lock:
                self._holds.pop(token, None)

    def owe(self, token: str, give_back: Callable[[], None]) -> None:
        """Call ``give_back`` again and again until it succeeds, after a claim could not be released.

        Meanwhile the token is among :meth:`tokens`. A lease that is neither released nor renewed would look as if its
        worker had died.
        """
        with self._lock:
            self._owed[token] = give_back
        self._begin()

    def tokens(self) -> list[str]:
        """The tokens of all leases that this process holds."""
        with self._lock:
            return [*self._holds, *self._owed]

    def hung(self, seconds: float) -> list[str]:
        """Tokens of leases whose deadline passed more than ``seconds`` ago while their work still runs."""
        with self._lock:
            return [token for token, hold in self._holds.items() if time.monotonic() > hold.expires + seconds]

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._give_back()

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        wait = self._interval
        while not self._stop.wait(wait):
            self._give_back()
            with self._lock:
                holds = list(self._holds.values())
            whole = [self._renew(hold) for hold in holds]
            wait = self._interval if all(whole) else min(self._interval, SOON)

    def _give_back(self) -> None:
        with self._lock:
            owed = list(self._owed.items())
        for token, give_back in owed:
            try:
                give_back()
            except PipelineError as error:
                log.log(
                    logging.INFO if token in self._told else logging.WARNING,
                    "The claim %s can't be released: %s",
                    token[:8],
                    error,
                )
                self._told.add(token)
            except Exception:
                log.exception("A claim could not be released.")
            else:
                self._told.discard(token)
                with self._lock:
                    self._owed.pop(token, None)

    def _renew(self, hold: Hold) -> bool:
        """Renew one lease. Returns False if locked rows are left for the next time."""
        if hold.over:
            return True
        try:
            renewal = hold.renew()
            if renewal.held == 0 and hold.token in self._holds:
                hold.lost = True
            return renewal.prolonged >= renewal.held
        except PipelineError as error:  # the ledger is unavailable; if it stays so, the lease expires
            log.warning("A lease could not be renewed: %s", error)
        except Exception:  # this thread must survive: it renews all leases of the process
            log.exception("A lease could not be renewed.")
        return True
