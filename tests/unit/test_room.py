"""A process is a room: good claims side by side, or one suspect alone, in turns."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from semantik_pipeline.ledger.queue.leases import Hold
from semantik_pipeline.stages.room import EMPTY, LINGER, LONGEST_WAIT, TURN, Place, Room


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def at_once() -> bool:
    """Gives up instead of waiting."""
    return True


def within(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


def test_good_claims_are_side_by_side():
    room = Room()
    assert room.beside(at_once) is not None
    assert room.beside(at_once) is not None
    assert room.alone(at_once, patient=False) is None


def test_a_suspect_waits_until_all_others_have_left_and_keeps_new_ones_out():
    room = Room()
    first, second = room.beside(at_once), room.beside(at_once)
    with ThreadPoolExecutor() as threads:
        suspect = threads.submit(room.alone, within(10), patient=True)
        time.sleep(2 * LINGER)
        late = threads.submit(room.beside, within(10))
        first.leave()
        time.sleep(2 * LINGER)
        assert not suspect.done() and not late.done()
        second.leave()
        place = suspect.result(5)
        assert place is not None
        time.sleep(2 * LINGER)
        assert not late.done()
        place.leave()
        assert late.result(5) is not None


def test_who_gives_up_keeps_nobody_out():
    room, stop = Room(), threading.Event()
    good = room.beside(at_once)
    with ThreadPoolExecutor() as threads:
        suspect = threads.submit(room.alone, stop.is_set, patient=True)
        time.sleep(2 * LINGER)
        assert room.beside(at_once) is None
        stop.set()
        assert suspect.result(5) is None
        assert room.beside(within(5)) is not None
    good.leave()


def test_a_claim_whose_lease_is_over_keeps_nobody_waiting():
    """A hung thread never leaves; others go on without it."""
    room = Room()
    for take in (lambda: room.beside(at_once), lambda: room.alone(within(5), patient=True)):
        place = take()
        assert place is not None
        place.hold = Hold("token", lambda: 1, deadline=-1)
    assert room.alone(within(5), patient=True) is not None


def test_suspects_get_no_more_time_than_the_good_work_that_they_keep_waiting():
    clock = Clock()
    room = Room(clock)
    for _ in range(2):
        place = room.alone(at_once, patient=False)
        assert room.beside(at_once) is None  # a good one waits
        clock.now += TURN + 1
        place.leave()
        for _ in range(int(TURN + 1) * 10):
            good = room.beside(at_once)
            clock.now += 0.09
            good.leave()
            assert room.alone(at_once, patient=False) is None  # it rests, though the room is empty for a moment
        clock.now += 0.4


def test_a_rest_ends_when_the_good_work_is_done():
    clock = Clock()
    room = Room(clock)
    place = room.alone(at_once, patient=False)
    assert room.beside(at_once) is None
    clock.now += 100 * TURN
    place.leave()
    room.beside(at_once).leave()
    assert room.alone(at_once, patient=False) is None
    clock.now += EMPTY
    assert room.alone(at_once, patient=False) is not None


def test_suspects_follow_each_other_in_a_turn_without_a_rest():
    clock = Clock()
    room = Room(clock)
    for _ in range(5):
        place = room.alone(at_once, patient=False)
        assert place is not None
        assert room.beside(at_once) is None
        clock.now += TURN / 10
        place.leave()
    clock.now += 2 * LINGER  # nobody asks for the next
    assert room.beside(at_once) is not None


def test_suspects_that_keep_nobody_waiting_never_rest():
    clock = Clock()
    room = Room(clock)
    for _ in range(20):
        place = room.alone(at_once, patient=False)
        assert place is not None
        clock.now += TURN
        place.leave()


def asks(room: Room, clock: Clock, seconds: float, *, patient: bool = False) -> bool:
    """Whether a suspect that asks for so long gets its place within that time; it leaves at once."""
    room._changed.wait = lambda seconds: True  # the clock is turned on by who asks, not by waiting
    until = clock.now + seconds

    def passes() -> bool:
        clock.now += 0.1
        return clock.now > until

    place = room.alone(passes, patient=patient)
    if place is not None:
        place.leave()
    return place is not None


@pytest.mark.parametrize("patient", [True, False])
def test_a_long_claim_keeps_other_good_work_out_no_longer_than_a_turn(patient):
    clock = Clock()
    room = Room(clock)
    long = room.beside(at_once)
    began = clock.now
    assert not asks(room, clock, 1000, patient=patient)  # it gives up, to see whether it has good work
    assert clock.now - began < TURN + 1
    assert room.beside(at_once) is not None
    assert not long.wanted


class Loop:
    """A loop of good work, of claims without end that hand back when they are wanted, after the piece in hand."""

    def __init__(self, room: Room, piece: float, *, hands_back: bool = True) -> None:
        self.room, self.piece, self.hands_back = room, piece, hands_back
        self.place: Place | None = None
        self.left = self.worked = 0.0

    def step(self, seconds: float) -> None:
        if self.place is None:
            self.place, self.left = self.room.beside(at_once), self.piece
            return
        self.worked += seconds
        self.left -= seconds
        if self.left <= 0:
            if self.hands_back and self.place.wanted:
                self.place.leave()
                self.place = None
            self.left = self.piece


def live(room: Room, clock: Clock, loops: list[Loop], seconds: float) -> list[float]:
    """When suspects of one second each got their place, with some asking all the time beside the loops."""
    room._changed.wait = lambda seconds: True  # the clock is turned on by who asks, not by waiting
    served: list[float] = []
    began, ends = clock.now, clock.now + seconds

    def passes() -> bool:
        clock.now += 0.1
        for loop in loops:
            loop.step(0.1)
        return clock.now > ends

    while not passes():
        place = room.alone(passes, patient=False)
        if place is not None:
            served.append(clock.now - began)
            for _ in range(10):
                passes()
            place.leave()
    return served


def test_long_claims_of_long_pieces_leave_half_of_the_time_and_some_turns_to_suspects():
    clock, piece, seconds = Clock(), 30.0, 4000.0
    room = Room(clock)
    loops = [Loop(room, piece), Loop(room, piece * 0.7), Loop(room, piece * 0.3)]
    served = live(room, clock, loops, seconds)
    assert served[0] < 8 * piece
    gaps = [after - before for before, after in pairwise([*served, seconds])]
    assert max(gaps) < 8 * piece
    assert len(served) > 10
    assert all(loop.worked > 0.4 * seconds for loop in loops)


def test_a_claim_that_never_ends_costs_others_half_of_the_time_at_most_and_never_long_at_once():
    clock, seconds = Clock(), 7200.0
    room = Room(clock)
    endless, other = Loop(room, 1.0, hands_back=False), Loop(room, 1.0)
    assert live(room, clock, [endless, other], seconds) == []
    assert endless.worked > 0.99 * seconds
    assert other.worked > 0.45 * seconds
    assert room._patience == LONGEST_WAIT


def test_whoever_comes_and_goes_a_suspect_is_alone_and_nobody_starves():
    room, ended = Room(), time.monotonic() + 1.5
    inside: list[str] = []
    wrong: list[list[str]] = []
    served = {"good": 0, "suspect": 0}
    lock = threading.Lock()

    def come_and_go(number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < ended:
            kind = "suspect" if chance.random() < 0.3 else "good"
            give_up = within(chance.uniform(0.0, 1.0))
            place = room.alone(give_up, patient=chance.random() < 0.5) if kind == "suspect" else room.beside(give_up)
            if place is None:
                continue
            with lock:
                inside.append(kind)
                if "suspect" in inside and len(inside) > 1:
                    wrong.append(list(inside))
            time.sleep(chance.uniform(0, 0.01))
            with lock:
                inside.remove(kind)
                served[kind] += 1
            place.leave()

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong
    assert served["good"] > 10 and served["suspect"] > 3, served
