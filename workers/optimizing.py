"""Optimises indexes in processes that run for a long time. A command optimises the indexes that it wrote when it ends;
a server or a scheduler does not end, so it checks periodically."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semantik_pipeline.errors import PipelineError
from semantik_pipeline.isolation import isolated
from semantik_pipeline.ledger.operations import lifecycle

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

#: Seconds between two searches for indexes that are at rest.
EVERY = 30.0

#: After an optimisation, an index is left alone for this many times as long as the optimisation took, so that an index
#: that changes all the time is not rebuilt constantly.
LEFT = 20

#: Maximum seconds for which an index is left alone after failures. The delay starts at ``EVERY`` and doubles with each
#: failure.
LONGEST = 3600.0

#: Seconds after which an index that is never at rest is optimised anyway.
PATIENCE = 600.0

#: Maximum number of different reasons that are logged for one index until it is optimised.
REASONS = 10


@dataclass(frozen=True, kw_only=True)
class Failed:
    """How many times in a row an index could not be optimised, and the reasons that were logged."""

    times: int = 0
    told: frozenset[str] = frozenset()

    def again(self, reason: str) -> Failed:
        told = self.told | {reason} if len(self.told) < REASONS else self.told
        return Failed(times=self.times + 1, told=told)

    @property
    def delay(self) -> float:
        return min(EVERY * 2 ** min(self.times - 1, 20), LONGEST) if self.times else 0.0


class Optimizing:
    """Asks the store to optimise an index once an operation of its collection has ended and no other is running, or
    after ``PATIENCE`` seconds if that never happens. The store decides whether the index has grown enough to be
    optimised."""

    def __init__(self, runtime: Runtime, clock: Callable[[], float] = time.monotonic) -> None:
        self._runtime = runtime
        self._clock = clock
        self._upto: int | None = None  # id of the newest operation at the last look
        self._due: dict[str, float] = {}  # index written to since it was optimised -> time since when that is known
        self._left: dict[str, float] = {}  # index -> time until which it is left alone
        self._failed: dict[str, Failed] = {}

    def run(self) -> None:
        """Look every ``EVERY`` seconds until the process is to stop."""
        while not self._runtime.stopping.wait(EVERY):
            if self._runtime.scheduling:
                self.look()

    def look(self) -> None:
        runtime = self._runtime
        with isolated(runtime, "optimize"):
            if "optimize" not in runtime.store.capabilities:
                return
            with runtime.ledger.read() as tx:
                found, self._upto = lifecycle.searched_indexes(tx, since=self._upto)
            now = self._clock()
            due = {one: self._due.get(one.index, now) for one in found if one.touched or one.index in self._due}
            self._due = {one.index: since for one, since in due.items()}
            chosen = [one.index for one, since in due.items() if not one.busy or now - since >= PATIENCE]
            there = runtime.host.call(runtime.store.list_indexes) if chosen else []
            busy = {one.index for one in found if one.busy}
            for index in chosen:
                if index in there and not runtime.stopping.is_set():
                    self._ask(index, busy=index in busy)

    def _ask(self, index: str, *, busy: bool) -> None:
        """Optimise one index, unless it is to be left alone.

        A busy index becomes due again at once, so it is optimised again when it is at rest, or after ``PATIENCE``. A
        failure does not hold up other indexes; the index is tried again after a delay that grows with each failure.
        """
        began = self._clock()
        if began < self._left.get(index, began):
            return
        try:
            self._runtime.host.call(self._runtime.store.optimize, index)
        except Exception as error:
            if self._runtime.stopping.is_set():
                return
            self._note(index, error)
        else:
            if busy:
                self._due[index] = self._clock()
            else:
                self._due.pop(index, None)
            self._failed.pop(index, None)
        ended = self._clock()
        delay = self._failed.get(index, Failed()).delay
        self._left[index] = ended + max(delay, LEFT * (ended - began))

    def _note(self, index: str, error: Exception) -> None:
        """Count the failure, and log it once for each reason until the index is optimised."""
        self._runtime.tally.count("maintenance_failures", step="optimize")
        reason, before = f"{type(error).__name__}: {error}", self._failed.get(index, Failed())
        failed = self._failed[index] = before.again(reason)
        if reason in failed.told - before.told:
            words = error if isinstance(error, PipelineError) else reason
            tell = log.warning if isinstance(error, PipelineError) else log.exception
            tell("The index %s was not optimised; the next try is in %.0f s or more: %s", index, failed.delay, words)
