"""One forward at a time, and the higher lane first."""

from __future__ import annotations

import threading
import time

from semantik_pipeline.builtin.embedders.device_turns import DeviceTurns, Lane


def test_a_query_goes_before_reranking_and_reranking_before_bulk_work_that_waited_longer():
    turns, order, waiting = DeviceTurns(), [], [Lane.BULK, Lane.BULK, Lane.RERANK, Lane.QUERY]

    def work(lane: Lane) -> None:
        with turns.turn(lane):
            order.append(lane)

    with turns.turn(Lane.BULK):
        threads = [threading.Thread(target=work, args=(lane,)) for lane in waiting]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 10
        while sum(turns._waiting.values()) < len(waiting):
            assert time.monotonic() < until
            time.sleep(0.001)
    for thread in threads:
        thread.join(10)
    assert order == [Lane.QUERY, Lane.RERANK, Lane.BULK, Lane.BULK]


def test_only_one_holds_the_device_and_an_error_gives_it_back():
    turns, inside, most = DeviceTurns(), [], []

    def work(number: int) -> None:
        for _ in range(50):
            try:
                with turns.turn(Lane(number % 3)):
                    inside.append(number)
                    most.append(len(inside))
                    inside.remove(number)
                    raise ValueError
            except ValueError:
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(most) == 300
    assert max(most) == 1


def test_several_streams_hold_the_device_at_once_and_the_higher_lane_still_goes_first():
    turns, inside, most, order, both = DeviceTurns(2), [], [], [], threading.Barrier(2)

    def work(lane: Lane) -> None:
        with turns.turn(lane):
            inside.append(lane)
            most.append(len(inside))
            order.append(lane)
            if lane is Lane.QUERY:
                both.wait(10)
            inside.remove(lane)

    with turns.turn(Lane.BULK) as alone, turns.turn(Lane.BULK) as second:
        assert (alone, second) == (True, False)
        waiting = [Lane.BULK] * 6 + [Lane.QUERY] * 2
        threads = [threading.Thread(target=work, args=(lane,)) for lane in waiting]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 10
        while sum(turns._waiting.values()) < len(waiting):
            assert time.monotonic() < until
            time.sleep(0.001)
    for thread in threads:
        thread.join(10)
    assert max(most) == 2
    assert order[:2] == [Lane.QUERY, Lane.QUERY]


def test_while_people_search_a_stream_is_kept_free_for_them(monkeypatch):
    turns, began = DeviceTurns(2), threading.Event()

    def more_bulk_work() -> None:
        with turns.turn(Lane.BULK):
            began.set()

    with turns.turn(Lane.QUERY):
        pass
    thread = threading.Thread(target=more_bulk_work)
    with turns.turn(Lane.BULK):
        thread.start()
        with turns.turn(Lane.QUERY) as alone:
            assert not alone
        assert not began.wait(0.2)  # a stream is free, and it is kept free
        monkeypatch.setattr("semantik_pipeline.builtin.embedders.device_turns.BESIDE_QUERIES", -1.0)
        with turns.turn(Lane.RERANK):
            pass
        assert began.wait(10)
    thread.join(10)
