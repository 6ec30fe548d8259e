"""Decide which claims run at the same time in this process: good claims side by side, or one suspect alone.

When a process dies, everything that its stages and threads hold is lost with it. So its death is evidence against a
unit only if the process held nothing else, from the claim on. A suspect is therefore claimed when all other work in
this process is finished, and nothing else is claimed until the suspect is finished too. Other processes are not
affected.

Suspects come in *turns*. A turn begins with a wait for the good claims to end; these give back what they have not
begun. The wait is bounded. If it is in vain, the good work goes on and the bound doubles, so that at some point it is
longer than any piece of work. Every turn, in vain or not, is followed by a rest as long as good work was kept waiting.
So suspects cost a process at most half of its time, and they get their turn after a few times the duration of the
longest piece.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

from semantik_pipeline.ledger.queue.leases import Hold
from semantik_pipeline.stages.precedence import Precedence

#: Seconds that a turn lasts, from the moment when its first suspect may begin.
TURN = 2.0

#: Maximum seconds of a wait for the good claims, however often the wait was in vain.
LONGEST_WAIT = 300.0

#: Seconds that a turn waits for the next suspect. A loop that finished a suspect asks for another within this time.
LINGER = 0.05

#: Seconds between two checks whether all claims are made.
MOMENT = 0.01

#: Seconds after which an empty room ends its rest: the good work that was kept waiting is done.
EMPTY = 0.2


class Place:
    """The share of the room that one claim takes, until the claim leaves or its lease is over.

    So a hung claim keeps nobody waiting.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self.hold: Hold | None = None  # set once the claim is made

    @property
    def taken(self) -> bool:
        return self.hold is None or not self.hold.over

    @property
    def wanted(self) -> bool:
        """Whether a suspect waits for this good claim to end, so that it should give back what it has not begun.

        Ask only after finishing a piece. Otherwise the unit would be claimed and given back without progress.
        """
        return self._room._waits_for(self)

    def wanted_once(self, work: Hashable) -> bool:
        """Whether the place is :attr:`wanted`, at most once for each ``work`` in this process.

        For work that starts from the beginning when it is given back.
        """
        if work in self._room.interrupted or not self.wanted:
            return False
        self._room.interrupted.add(work)
        return True

    def leave(self) -> None:
        self._room._leave(self)


class Room:
    """The places of one process. ``give_up()`` is called repeatedly while a caller waits for a place."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._good: set[Place] = set()
        self._lone: Place | None = None
        self._asking = 0  # number of suspects that wait for a place
        self._began: float | None = None  # start of the current turn, which begins with the wait for good claims
        self._ends: float | None = None  # end of the turn, set when its first suspect gets its place
        self._left = 0.0  # when the last place was left, or a turn ended
        self._patience = TURN  # maximum seconds of the next wait for the good claims
        self._in_vain = 0  # number of turns that were given up
        self._kept_since: float | None = None  # when good work began to wait for the end of this turn
        self._rests_until = float("-inf")
        self.precedence = Precedence()  # of small sources' units
        self.interrupted: set[Hashable] = set()  # work that was interrupted once without having saved progress
        self.proven: set[str] = set()  # stages that have worked here, so their models are loaded

    def beside(self, give_up: Callable[[], bool]) -> Place | None:
        """Return a place for good units, beside others; None if the caller gives up waiting for a turn to end."""
        with self._changed:
            while self._suspects_turn():
                self._keep_waiting()
                if give_up():
                    return None
                self._changed.wait(LINGER)
            place = Place(self)
            self._good.add(place)
            return place

    def alone(self, give_up: Callable[[], bool], *, patient: bool) -> Place | None:
        """Return the whole room for one suspect, or None.

        None means that the caller gave up, that its turn was given up, or that it is not the suspects' turn. A caller
        that is not ``patient``, because it has good work to do, does not wait for the next turn. A patient caller waits
        up to :data:`TURN` seconds for it, and should then check again whether it has good work.
        """
        with self._changed:
            self._asking += 1
            asked, in_vain = self._clock(), self._in_vain
            try:
                while not self._is_free():
                    resting = self._began is None and (not patient or self._clock() >= asked + TURN)
                    if resting or self._in_vain != in_vain or give_up():
                        return None
                    if not patient:
                        self._keep_waiting()
                    self._changed.wait(LINGER)
                self._lone = Place(self)
                return self._lone
            finally:
                self._asking -= 1
                self._changed.notify_all()

    def settle(self, seconds: float) -> None:
        """Wait until every place has its claim or has been left, at most this number of seconds."""
        until = time.monotonic() + seconds
        while self._claiming() and time.monotonic() < until:
            time.sleep(MOMENT)

    def _claiming(self) -> bool:
        with self._changed:
            return any(place.hold is None for place in (*self._good, self._lone) if place is not None)

    def _keep_waiting(self) -> None:
        """Note that good work waits for the end of this turn."""
        if self._kept_since is None:
            self._kept_since = self._clock()

    def _is_free(self) -> bool:
        """Return whether a suspect may begin now. Begins a turn if possible."""
        now = self._clock()
        if not self._suspects_turn():
            deserted = not self._good and now >= self._left + EMPTY
            if now < self._rests_until and not deserted:
                return False
            self._began, self._ends, self._kept_since = now, None, None
        if self._taken(self._lone) or any(self._taken(place) for place in self._good):
            return False
        if self._ends is None:
            self._ends, self._patience = now + TURN, TURN
        return True

    def _suspects_turn(self) -> bool:
        """Return whether good work has to wait. Ends a turn that is over."""
        if self._began is None:
            return False
        now = self._clock()
        if self._taken(self._lone):
            return True
        if self._ends is None:
            in_vain = now >= self._began + self._patience
            if in_vain:
                self._in_vain += 1
                self._patience = min(2 * self._patience, LONGEST_WAIT)
            over = in_vain or not self._asking
        else:
            over = now >= self._ends or (not self._asking and now >= self._left + LINGER)
        if over:
            self._rests_until = now if self._kept_since is None else 2 * now - self._kept_since
            self._began, self._left = None, now
            self._changed.notify_all()
        return not over

    def _waits_for(self, place: Place) -> bool:
        with self._changed:
            return place in self._good and self._suspects_turn() and self._ends is None

    @staticmethod
    def _taken(place: Place | None) -> bool:
        return place is not None and place.taken

    def _leave(self, place: Place) -> None:
        with self._changed:
            self._good.discard(place)
            if self._lone is place:
                self._lone = None
            self._left = self._clock()
            self._changed.notify_all()
