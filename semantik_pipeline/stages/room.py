"""Who works beside whom in this process: good claims side by side, or one suspect alone.

A process dies as a whole, with all that its stages and threads hold. So its death tells something of a unit only if
that unit was all it held, from the claim on. A suspect is claimed when everything else in this process is finished, and
nothing else is claimed until it is finished too; another process does what it likes meanwhile.

Suspects come in *turns*. A turn is first a wait for the good claims to end, which hand back what they have not begun.
The wait has a bound, after which the good work goes on; each wait in vain doubles the bound, so that at last it is
longer than any piece in hand. A turn, in vain or not, is followed by a rest as long as good work was kept waiting: so
suspects cost a process no more than half of its time, and get their turn after a few times the longest piece.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

from semantik_pipeline.ledger.queue.leases import Hold
from semantik_pipeline.stages.precedence import Precedence

#: Seconds that a turn lasts, from the moment when its first suspect may begin.
TURN = 2.0

#: Seconds that a wait for the good claims never exceeds, however often it was in vain.
LONGEST_WAIT = 300.0

#: Seconds that a turn waits for the next suspect: the loop that finished one asks for another within this time.
LINGER = 0.05

#: Seconds between two looks whether all claims are made.
MOMENT = 0.01

#: Seconds after which a room that stands empty rests no more: the good work that was kept waiting is done.
EMPTY = 0.2


class Place:
    """What one claim takes of the room, until it is left or its lease is over: a hung claim keeps nobody waiting."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.hold: Hold | None = None  # once the claim is made

    @property
    def taken(self) -> bool:
        return self.hold is None or not self.hold.over

    @property
    def wanted(self) -> bool:
        """A suspect waits for this good claim to end: what it has not begun is to be handed back. Whoever asks this has
        finished a piece before, or the claim would only come and go."""
        return self._room._waits_for(self)

    def wanted_once(self, work: Hashable) -> bool:
        """:attr:`wanted`, and never before for this ``work`` in this process: it begins anew if it is handed back."""
        if work in self._room.interrupted or not self.wanted:
            return False
        self._room.interrupted.add(work)
        return True

    def leave(self) -> None:
        self._room._leave(self)


class Room:
    """The places of one process. ``give_up()`` is asked again and again while somebody waits for one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._good: set[Place] = set()
        self._lone: Place | None = None
        self._asking = 0  # suspects that wait for their place
        self._began: float | None = None  # this turn of the suspects, which is first of all a wait for the good ones
        self._ends: float | None = None  # set when its first suspect has its place
        self._left = 0.0  # when the last one left, or a turn ended
        self._patience = TURN  # seconds that the next wait for the good ones may last
        self._in_vain = 0  # turns that were given up
        self._kept_since: float | None = None  # when good work began to wait for the end of this turn
        self._rests_until = float("-inf")
        self.precedence = Precedence()  # of small sources' units
        self.interrupted: set[Hashable] = set()  # what has left once, though it had saved nothing to go on from
        self.proven: set[str] = set()  # stages that have worked here: what they load at first is loaded

    def beside(self, give_up: Callable[[], bool]) -> Place | None:
        """A place beside others, for good units; None if the caller gives up waiting for the end of a turn."""
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
        """The whole room, for one suspect. None if the caller gives up, or it is no suspects' turn and the caller is
        not ``patient``, having good work to do, or should look again whether it has: its turn was given up, or a rest
        is long."""
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
        """Wait until whoever has a place has its claim, too, or has left: for so many seconds at most."""
        until = time.monotonic() + seconds
        while self._claiming() and time.monotonic() < until:
            time.sleep(MOMENT)

    def _claiming(self) -> bool:
        with self._changed:
            return any(place.hold is None for place in (*self._good, self._lone) if place is not None)

    def _keep_waiting(self) -> None:
        """Good work waits for the end of this turn."""
        if self._kept_since is None:
            self._kept_since = self._clock()

    def _is_free(self) -> bool:
        """Whether a suspect may begin now; begins a turn if it may."""
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
        """Whether good work has to wait; ends a turn that is over."""
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
