"""A process is a room: good claims side by side, or one suspect alone, in turns."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from semantik_pipeline.ledger.leases import Hold
from semantik_pipeline.stages.room import EMPTY, LINGER, TURN, Room


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


@pytest.mark.parametrize("seed", range(3))
def test_whoever_comes_and_goes_a_suspect_is_alone_and_nobody_starves(seed):
    room, ended = Room(), time.monotonic() + 1.5
    inside: list[str] = []
    wrong: list[list[str]] = []
    served = {"good": 0, "suspect": 0}
    lock = threading.Lock()

    def come_and_go(number: int) -> None:
        chance = random.Random(seed * 100 + number)
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
