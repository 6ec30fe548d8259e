"""Micro-batches: every text once, no batch above the budget unless it is one text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.builtin.embedders.openai_compatible import request_bounds
from semantik_pipeline.builtin.embedders.token_batches import batch_end, longest_first

lengths = st.lists(st.integers(0, 300), max_size=60)


@given(lengths, st.integers(1, 1000))
def test_batches_cover_all_and_keep_the_budget(given_lengths, budget):
    order = longest_first(given_lengths)
    assert sorted(order) == list(range(len(given_lengths)))
    ordered = [given_lengths[index] for index in order]
    assert ordered == sorted(given_lengths, reverse=True)
    start = 0
    while start < len(ordered):
        end = batch_end(ordered, start, budget)
        assert end > start
        assert end - start == 1 or (end - start) * max(ordered[start:end]) <= budget
        # and it is no smaller than it must be
        assert end == len(ordered) or ordered[start] == 0 or (end - start + 1) * ordered[start] > budget
        start = end
    assert start == len(ordered)


@given(lengths, st.integers(1, 10), st.integers(1, 500))
def test_requests_cover_all_in_order_within_both_limits(tokens, max_texts, max_tokens):
    bounds = request_bounds(tokens, max_texts, max_tokens)
    assert [index for start, end in bounds for index in range(start, end)] == list(range(len(tokens)))
    for start, end in bounds:
        assert end - start <= max_texts
        assert end - start == 1 or sum(tokens[start:end]) <= max_tokens
