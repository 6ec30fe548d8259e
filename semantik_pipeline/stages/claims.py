"""Claim units and hold their leases. Every stage of documents uses this module."""

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

#: Loads what a stage needs (models, plugins) by processing the text :data:`READY` instead of a document.
Prepare = Callable[["Runtime", "Generation"], None]

READY = "Ready."


class Between(Protocol):
    """A callback that runs between two claims of a loop.

    ``after_small`` is true if the last claim finished units of a small source.
    """

    def __call__(self, *, after_small: bool = False) -> None: ...


#: Seconds after which a claim gives back the units that it has not begun, because other units may be due to go first.
LONG = 2.0

#: A claim that is finished within this many seconds is followed by a larger one. A claim costs the ledger as much as
#: several documents do, and a short claim keeps nobody waiting.
MOMENT = 0.5

#: How often to look for units that are due but locked, and the seconds between two looks. Another claim locks more
#: units than it takes, but only for milliseconds.
LOOKS, LOCKED = 10, 0.02


class Held:
    """A claim whose lease is being renewed. Closing it gives back the unfinished units, with no attempt charged."""

    def __init__(self, runtime: Runtime, claim: Claim, deadline: float, place: Place) -> None:
        self._runtime = runtime
        self._place = place
        self._began, self._began_at = time.monotonic(), time.time()
        self.lasted: float | None = None  # seconds; set once all units are finished and none was a suspect
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
        """Whether the claim should finish its current piece and give back the units that it has not begun.

        True if a suspect of this process waits for this claim to end, or if a small source has precedence.
        """
        return self._place.wanted or (self._precedence.taken and not self._of_small)

    @property
    def lasts(self) -> bool:
        """Whether the claim has run for so long that it should make way.

        It then finishes its current piece and gives back the units that it has not begun.
        """
        return time.monotonic() >= self._began + LONG

    def close(self) -> None:
        token = self.claim.token
        try:
            self._renewing.close()
            self._give_back()
        except Exception:  # ledger unreachable: the keeper retries, or the lease would run out
            if self._runtime.closed:  # its units were given back before, or their lease runs out
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
        if left:  # most claims are finished, and this check is cheaper than a transaction
            with self._runtime.ledger.write() as tx:
                given_back = work.give_back(tx, self.claim.token)
        if given_back and (self._runtime.stopping.is_set() or self._runtime.resting.is_set()):
            self._runtime.ring(self.claim.stage)  # so that another worker continues at once
        self._tell(done, len(given_back))
        self._runtime.journal.ended(self.claim, self._began_at, given_back)

    def _tell(self, done: list[int], given_back: int) -> None:
        """Count the finished and released units. ``done`` holds the number of chunks of each finished unit.

        Failed units are counted where their failure is recorded (``unit_errors.py``).
        """
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

    The smallest claim takes up to ``limit`` documents and ``max_chunks`` chunks. The largest takes ``largest`` times as
    much. Claims grow only if the stage closes each claim before it takes the next.
    """

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
        self._between = between  # called before each claim except the first
        self.until = until  # on time.monotonic()
        self.dry = False
        self._taken = 0
        self._times = 1  # size of the next claim, in multiples of the smallest claim
        self._last: Held | None = None

    @property
    def stopping(self) -> bool:
        """Whether the process takes no more work. The stage should then give back the units that it has not begun."""
        return self._runtime.idle

    @property
    def over(self) -> bool:
        """Whether the loop's time is over or the process is stopping.

        Each loop takes at least one claim, however short its time is.
        """
        return self.stopping or (self._taken > 0 and time.monotonic() >= self.until)

    def take(self) -> Held | None:
        """Return the next claim, or None if nothing is due or the time is over.

        If more units are due than the claim takes, it rings the stage's bell before the work begins: the bell that
        started this loop is used up, and no other worker may know of the remaining units.
        """
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
        """Double the claim size after a claim that was finished quickly; otherwise go back to the smallest size."""
        lasted = self._last.lasted if self._last is not None else None
        if lasted is None or lasted > MOMENT:
            self._times = 1
        elif 2 * lasted <= MOMENT:  # a claim of twice the size would still be short
            self._times = min(2 * self._times, self._largest)

    def _look(self) -> tuple[Held | None, bool]:
        """Return ``(claim or None, whether any units are due)``.

        If units are due but there is no claim, other claims have these units locked, or a suspect did not get a place
        in time because of this process's good claims.
        """
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
        """Wait while a small source has precedence, unless units of such a source come next in this stage."""
        precedence = self._runtime.room.precedence
        while precedence.taken and not self.stopping:
            with self._runtime.ledger.read() as tx:
                if due.hastened(tx, self.stage, front=self._limit, without=without):
                    return
            precedence.wait()

    def _take_alone(self, without: Without, *, patient: bool) -> Held | None:
        """Claim one suspect, after loading what the stage needs.

        If the process is killed from outside while it loads a model, that must not be charged to the document. So the
        loading comes before the claim.
        """
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
        """Claim units for a place in the room. Leaves the place if there are no units."""
        if place is None:
            return None
        runtime, held = self._runtime, None
        try:
            if self.stopping:  # a drain reports held units once no thread of this process is about to claim
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
        """Return the generations whose units this process must not claim.

        These are live generations for which it cannot produce the right output, so their units wait for other workers,
        and retired generations, whose units wait for nobody. The reason is in this worker's report; without a fleet
        this is the only worker, so the units themselves carry the reason too.
        """
        refused = list(retired)
        for generation_id in live:
            reason = self._runtime.refusal(generation_id, self.stage)
            if reason is not None:
                refused.append(generation_id)
                if not self._runtime.settings.fleet:
                    with self._runtime.ledger.write() as tx:
                        work.block(tx, self.stage, generation_id, reason)
        return refused
