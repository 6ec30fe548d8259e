"""How much sooner the units of a small source go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.ledger.queue.fair_queue import SHARE, sooner

times = st.floats(min_value=0, max_value=1e6)
behind = st.floats(min_value=0, max_value=1e6)


@given(times, behind, behind)
def test_the_order_of_what_is_due_is_kept(time: float, one: float, other: float) -> None:
    first, second = sorted((one, other))
    assert sooner(time + first, time) <= sooner(time + second, time)


@given(times, behind)
def test_nobody_is_late_for_it_nor_before_the_time(time: float, due: float) -> None:
    assert time <= sooner(time + due, time) <= time + due


@given(times, st.integers(min_value=1, max_value=1000))
def test_one_unit_of_another_goes_for_so_many_of_the_small_one(time: float, units: int) -> None:
    last = sooner(time + units, time)
    assert abs((last - time) * SHARE - units) < 1e-3
