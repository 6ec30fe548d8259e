"""From scores of chunks to the score of their document."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.contracts.document_scores import document_score

scores = st.lists(st.floats(0, 1), max_size=30)


@given(scores, st.randoms(use_true_random=False))
def test_it_is_within_bounds_and_cares_for_no_order(some: list[float], random) -> None:
    shuffled = random.sample(some, len(some))
    assert 0 <= document_score(some) <= 1
    assert document_score(shuffled) == pytest.approx(document_score(some))
    assert document_score(some) >= max(some, default=0.0) - 1e-12


@given(scores, st.floats(0, 1))
def test_no_chunk_makes_a_document_worse(some: list[float], more: float) -> None:
    assert document_score([*some, more]) >= document_score(some) - 1e-12


@given(scores.filter(bool), st.integers(0, 29), st.floats(0, 1))
def test_a_better_chunk_makes_it_no_worse(some: list[float], place: int, better: float) -> None:
    place %= len(some)
    raised = [*some[:place], max(some[place], better), *some[place + 1 :]]
    assert document_score(raised) >= document_score(some) - 1e-12


def test_one_chunk_is_its_document() -> None:
    assert document_score([0.4]) == pytest.approx(0.4)
    assert document_score([]) == 0
    assert document_score([0.4, 0.0, 0.0]) == pytest.approx(0.4)


def test_several_good_chunks_are_better_than_one_that_is_hardly_better() -> None:
    assert document_score([0.8, 0.7, 0.7]) > document_score([0.82])
    assert document_score([0.6] * 100) < document_score([0.9])
    assert document_score([0.8, 0.5, 0.4, 0.3]) == pytest.approx(0.8)  # what all chunks share is no evidence
