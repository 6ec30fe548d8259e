"""Indexes that only a server or a scheduler writes are optimised too: commands do that at their end, and these have none."""

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

#: Seconds between two looks for indexes that are at rest.
EVERY = 30.0

#: How many times as long as it took an index is left alone afterwards: one that changes all the time is not built again and
#: again.
LEFT = 20

#: Seconds for which an index that can't be optimised is left alone at the most; the first time ``EVERY``, then twice as long
#: each time.
LONGEST = 3600.0

#: Seconds after which an index that is never at rest is optimised all the same.
PATIENCE = 600.0

#: Reasons that are told of one index, until it is optimised.
REASONS = 10


@dataclass(frozen=True, kw_only=True)
class Failed:
    """How often in a row an index could not be optimised, and the reasons that were told."""

    times: int = 0
    told: frozenset[str] = frozenset()

    def again(self, reason: str) -> Failed:
        told = self.told | {reason} if len(self.told) < REASONS else self.told
        return Failed(times=self.times + 1, told=told)

    @property
    def delay(self) -> float:
        return min(EVERY * 2 ** min(self.times - 1, 20), LONGEST) if self.times else 0.0


class Optimizing:
    """Asks the store to optimise an index when an operation of its collection has ended and no other is under way, or when
    that did not come for a while. The store knows whether the index has grown enough for that."""

    def __init__(self, runtime: Runtime, clock: Callable[[], float] = time.monotonic) -> None:
        self._runtime = runtime
        self._clock = clock
        self._upto: int | None = None  # the newest operation of the last look
        self._due: dict[str, float] = {}  # index that was written to since it was optimised -> since when
        self._left: dict[str, float] = {}  # index -> until when it is left alone
        self._failed: dict[str, Failed] = {}

    def run(self) -> None:
        """Look now and then until the process is to stop."""
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
        """One that is being written to is due again when it is at rest, or as much later. One that fails keeps no other
        waiting, and is asked for again after a while, which grows as it fails again."""
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
        """Count the failure, and tell of it once for each reason, until the index is optimised."""
        self._runtime.tally.count("maintenance_failures", step="optimize")
        reason, before = f"{type(error).__name__}: {error}", self._failed.get(index, Failed())
        failed = self._failed[index] = before.again(reason)
        if reason in failed.told - before.told:
            words = error if isinstance(error, PipelineError) else reason
            tell = log.warning if isinstance(error, PipelineError) else log.exception
            tell("The index %s was not optimised; the next try is in %.0f s or more: %s", index, failed.delay, words)
