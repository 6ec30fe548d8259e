"""Micro-batches: every text once, no batch above the budget unless it is one text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.builtin.embedders.openai_compatible import request_bounds
from semantik_pipeline.builtin.embedders.token_batches import TokenBatches

lengths = st.lists(st.integers(0, 300), max_size=60)


@given(lengths, st.integers(1, 1000))
def test_batches_cover_all_and_keep_the_budget(given_lengths, budget):
    batches, left, taken = TokenBatches(given_lengths), sorted(given_lengths, reverse=True), []
    while batch := batches.take(budget):
        sizes = [given_lengths[index] for index in batch]
        assert sizes == left[: len(sizes)]  # the longest of those that are left
        left = left[len(sizes) :]
        assert len(sizes) == 1 or len(sizes) * sizes[0] <= budget
        assert not left or sizes[0] == 0 or (len(sizes) + 1) * sizes[0] > budget  # no smaller than it must be
        taken += batch
    assert sorted(taken) == list(range(len(given_lengths)))


@given(lengths, st.integers(1, 1000))
def test_a_batch_that_is_put_back_comes_again_in_its_order(given_lengths, budget):
    batches, taken = TokenBatches(given_lengths), []
    first, second = batches.take(budget), batches.take(budget)
    batches.put_back(first)
    batches.put_back(second)
    while batch := batches.take(max(1, budget // 2)):
        taken += batch
    assert sorted(taken) == list(range(len(given_lengths)))
    assert [given_lengths[index] for index in taken] == sorted(given_lengths, reverse=True)


def test_nobody_takes_what_was_dropped():
    batches = TokenBatches([3, 4])
    batches.drop()
    assert batches.take(100) == []


@given(lengths, st.integers(1, 10), st.integers(1, 500))
def test_requests_cover_all_in_order_within_both_limits(tokens, max_texts, max_tokens):
    bounds = request_bounds(tokens, max_texts, max_tokens)
    assert [index for start, end in bounds for index in range(start, end)] == list(range(len(tokens)))
    for start, end in bounds:
        assert end - start <= max_texts
        assert end - start == 1 or sum(tokens[start:end]) <= max_tokens
