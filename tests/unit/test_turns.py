"""How far a source that was idle goes ahead of its share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.ledger.turns import AHEAD, ahead

due = st.floats(min_value=0, max_value=1e9)


@given(due, due)
def test_the_order_of_what_is_due_is_kept(one: float, other: float) -> None:
    first, second = sorted((one, other))
    assert ahead(first) <= ahead(second)


@given(due)
def test_nobody_is_late_for_it_nor_further_ahead_than_agreed(one: float) -> None:
    assert 0 <= ahead(one) <= one <= ahead(one) + AHEAD


@given(due, due, st.floats(min_value=0, max_value=1e6))
def test_a_later_batch_of_a_source_goes_behind_the_one_before(one: float, more: float, passed: float) -> None:
    """``passed``: virtual time between the two."""
    assert ahead(one) <= passed + ahead(max(one + more - passed, 0)) + 1e-6
