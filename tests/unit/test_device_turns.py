"""One forward at a time, and queries before bulk work."""

from __future__ import annotations

import threading

from semantik_pipeline.builtin.embedders.device_turns import DeviceTurns


def test_a_query_goes_before_bulk_work_that_waited_longer():
    turns, order, waiting = DeviceTurns(), [], threading.Semaphore(0)

    def work(name: str, urgent: bool) -> None:
        waiting.release()
        with turns.turn(urgent):
            order.append(name)

    with turns.turn(False):
        threads = [threading.Thread(target=work, args=(f"bulk {n}", False)) for n in range(3)]
        threads.append(threading.Thread(target=work, args=("query", True)))
        for thread in threads:
            thread.start()
            waiting.acquire()
        while not turns._urgent_waiting:
            pass
    for thread in threads:
        thread.join(10)
    assert order[0] == "query"
    assert sorted(order) == ["bulk 0", "bulk 1", "bulk 2", "query"]


def test_only_one_holds_the_device_and_an_error_gives_it_back():
    turns, inside, most = DeviceTurns(), [], []

    def work(number: int) -> None:
        for _ in range(50):
            try:
                with turns.turn(number % 2 == 0):
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
