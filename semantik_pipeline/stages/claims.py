"""Taking units and holding them: what every stage works from."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from semantik_pipeline.ledger.catalog import collections
from semantik_pipeline.ledger.queue import due, renewals, work
from semantik_pipeline.ledger.queue.leases import Hold
from semantik_pipeline.ledger.queue.picking import Without
from semantik_pipeline.ledger.queue.renewals import Renewal
from semantik_pipeline.ledger.queue.work import Claim

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.collections import Generation
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.stages.room import Place

log = logging.getLogger(__name__)

#: Makes a stage load what it works with, on the word :data:`READY` instead of any document.
Prepare = Callable[["Runtime", "Generation"], None]

READY = "Ready."


class Between(Protocol):
    """What a loop does between two claims; ``after_small`` says that the last one brought units of a small source to
    their end."""

    def __call__(self, *, after_small: bool = False) -> None: ...


#: Seconds after which a claim gives back what it has not begun: somebody may wait who is to go first.
LONG = 2.0

#: Claims that are done within this many seconds are followed by larger ones: a claim costs the ledger as much as several
#: documents do, and what is done in a moment keeps nobody waiting.
MOMENT = 0.5

#: Looks at units that are due and locked, and seconds between them: a claim locks more than it takes, for milliseconds.
LOOKS, LOCKED = 10, 0.02


class Held:
    """A claim whose lease is being renewed. Closing gives back, without blame, what was not finished."""

    def __init__(self, runtime: Runtime, claim: Claim, deadline: float, place: Place) -> None:
        self._runtime = runtime
        self._place = place
        self._began, self._began_at = time.monotonic(), time.time()
        self.lasted: float | None = None  # seconds, once all of it is finished in company
        self.claim = claim
        self._renewing = ExitStack()
        self.hold: Hold = self._renewing.enter_context(
            runtime.keeper.holding(claim.token, lambda: _renew(runtime, claim), deadline)
        )
        place.hold = self.hold
        self._precedence = runtime.room.precedence
        self._of_small = any(unit.hastened for unit in claim.units)
        self.ends_small = self._of_small and claim.stage == work.STAGES[-1]
        if self._of_small:
            self._renewing.enter_context(self._precedence.held())

    @property
    def wanted(self) -> bool:
        """A suspect of this process waits for the end of this claim, or a small source has precedence: give back what is
        not begun, after one piece."""
        return self._place.wanted or (self._precedence.taken and not self._of_small)

    @property
    def lasts(self) -> bool:
        """It is in hand for so long that it should make way: give back what is not begun, after one piece."""
        return time.monotonic() >= self._began + LONG

    def close(self) -> None:
        token = self.claim.token
        try:
            self._renewing.close()
            self._give_back()
        except Exception:  # the ledger is away: left alone, the lease of a process that lives would run out
            if self._runtime.closed:  # what it held was given back before, or its lease runs out
                log.debug("A claim ended after its process.", exc_info=True)
                return
            self._runtime.keeper.owe(token, self._give_back)
            raise
        finally:
            self._place.leave()
        self._runtime.room.proven.add(self.claim.stage)

    def _give_back(self) -> None:
        given_back: set[tuple[int, int]] = set()
        with self._runtime.ledger.read() as tx:
            done, left = work.passed(tx, self.claim)
        if len(done) == len(self.claim.units) and not any(unit.suspect for unit in self.claim.units):
            self.lasted = time.monotonic() - self._began
        if left:  # most claims are finished, and a look costs less than a transaction
            with self._runtime.ledger.write() as tx:
                given_back = work.give_back(tx, self.claim.token)
        if given_back and (self._runtime.stopping.is_set() or self._runtime.resting.is_set()):
            self._runtime.ring(self.claim.stage)  # another worker goes on at once
        self._tell(done, len(given_back))
        self._runtime.journal.ended(self.claim, self._began_at, given_back)

    def _tell(self, done: list[int], given_back: int) -> None:
        """``done``: chunks of each unit that went on. What failed is counted where it is recorded (``unit_errors.py``)."""
        tally, stage = self._runtime.tally, self.claim.stage
        tally.observe("stage_duration_seconds", time.monotonic() - self._began, stage=stage)
        tally.count("units", len(done), stage=stage, outcome="done")
        tally.count("units", given_back, stage=stage, outcome="released")
        tally.count("chunks", sum(done), stage=stage)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _renew(runtime: Runtime, claim: Claim) -> Renewal:
    with runtime.ledger.write() as tx:
        return renewals.renew(tx, claim.token, runtime.settings.work.lease)


class Claims:
    """Claims of a stage, one after the other, until the stage is dry or the loop's time is over.

    The least claim takes ``limit`` documents and ``max_chunks`` chunks, the largest so many times as much; the stage must
    close one before it takes the next for its claims to grow."""

    def __init__(
        self,
        runtime: Runtime,
        stage: str,
        *,
        limit: int,
        deadline: float,
        until: float,
        max_chunks: int | None = None,
        largest: int = 1,
        prepare: Prepare = lambda runtime, generation: None,
        between: Between | None = None,
    ) -> None:
        self._runtime = runtime
        self.stage = stage
        self._prepare = prepare
        self._limit = limit
        self._max_chunks = max_chunks
        self._largest = largest
        self._deadline = deadline
        self._between = between  # called before each claim but the first
        self.until = until  # on time.monotonic()
        self.dry = False
        self._taken = 0
        self._times = 1  # the least claim
        self._last: Held | None = None

    @property
    def stopping(self) -> bool:
        """The process takes no more work: give back what is not begun."""
        return self._runtime.idle

    @property
    def over(self) -> bool:
        """The loop's time is over, or the process is to stop. Each loop takes one claim, however short its time is."""
        return self.stopping or (self._taken > 0 and time.monotonic() >= self.until)

    def take(self) -> Held | None:
        """The next claim; None when there is none, or no time. Where more is due than it takes, it rings for others
        before the work begins: the bell that this loop heard is used up, and nobody else may know."""
        if self._between is not None and self._taken:
            self._between(after_small=self._last is not None and self._last.ends_small)
        held, left = None, True
        self._fit()
        for _ in range(LOOKS):
            if self.over:
                return None
            held, left = self._look()
            if held is not None or not left:
                break
            time.sleep(LOCKED)
        self.dry = held is None and not left
        self._last = held
        self._taken += 1
        if held is not None and held.claim.more:
            self._runtime.ring(self.stage)
        return held

    def _fit(self) -> None:
        """A larger claim after one that was done in a moment, the least after any other."""
        lasted = self._last.lasted if self._last is not None else None
        if lasted is None or lasted > MOMENT:
            self._times = 1
        elif 2 * lasted <= MOMENT:  # one twice as large is, too
            self._times = min(2 * self._times, self._largest)

    def _look(self) -> tuple[Held | None, bool]:
        """A claim if there is one, and whether any are due: if so without a claim, others hold them locked, or the good
        claims of this process left no place for a suspect in time."""
        without = Without(reasons=self._runtime.left.units())
        with self._runtime.ledger.read() as tx:
            good, suspects = due.at(tx, self.stage, without=without)  # most looks find nothing
            live, retired = collections.generation_ids(tx) if good or suspects else ([], [])
        if refused := self._refused(live, retired):
            without = replace(without, generations=tuple(sorted(refused)))
            with self._runtime.ledger.read() as tx:
                good, suspects = due.at(tx, self.stage, without=without)
        held = None
        if good and not suspects:
            self._stand_back(without)
        if suspects and (not good or self.stage in self._runtime.room.proven):
            held = self._take_alone(without, patient=not good)
        if held is None and good:
            held = self._claim(self._runtime.room.beside(lambda: self.stopping), without)
        return held, good or suspects

    def _stand_back(self, without: Without) -> None:
        """Wait while a small source has precedence, unless it is its units that come next."""
        precedence = self._runtime.room.precedence
        while precedence.taken and not self.stopping:
            with self._runtime.ledger.read() as tx:
                if due.hastened(tx, self.stage, front=self._limit, without=without):
                    return
            precedence.wait()

    def _take_alone(self, without: Without, *, patient: bool) -> Held | None:
        """A suspect. What the stage loads at first is loaded before: a kill from outside may hit the process while it
        loads, and that is not to be held against the document."""
        runtime = self._runtime
        if self.stage not in runtime.room.proven:
            for generation_id in set(runtime.live_generations()) - set(without.generations):
                try:
                    self._prepare(runtime, runtime.generation(generation_id))
                except Exception as error:  # it fails again with the suspect, and is recorded there
                    log.info("%s can't be prepared: %s", self.stage, error)
            runtime.room.proven.add(self.stage)
        return self._claim(runtime.room.alone(lambda: self.stopping, patient=patient), without, alone=True)

    def _claim(self, place: Place | None, without: Without, *, alone: bool = False) -> Held | None:
        """Claim units for a place, which is left if there are none."""
        if place is None:
            return None
        runtime, held = self._runtime, None
        try:
            if self.stopping:  # who is asked to drain says what it holds once nobody here is about to claim
                return None
            with runtime.ledger.write() as tx:
                claim = work.claim(
                    tx,
                    self.stage,
                    worker=runtime.worker_id,
                    lease=runtime.settings.work.lease,
                    limit=self._times * self._limit,
                    max_chunks=self._max_chunks and self._times * self._max_chunks,
                    alone=alone,
                    without=without,
                )
            held = Held(runtime, claim, self._deadline, place) if claim else None
            return held
        finally:
            if held is None:
                place.leave()

    def __iter__(self) -> Iterator[Held]:
        while (held := self.take()) is not None:
            with held:
                yield held

    def _refused(self, live: list[int], retired: list[int]) -> list[int]:
        """Generations whose output this process cannot give; their units wait for others. The reason is in this worker's
        report; where it is the only one, its units say it too. And those on their way out, whose units wait for nobody."""
        refused = list(retired)
        for generation_id in live:
            reason = self._runtime.refusal(generation_id, self.stage)
            if reason is not None:
                refused.append(generation_id)
                if not self._runtime.settings.fleet:
                    with self._runtime.ledger.write() as tx:
                        work.block(tx, self.stage, generation_id, reason)
        return refused
