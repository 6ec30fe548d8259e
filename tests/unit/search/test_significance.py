"""The randomisation test against the plain definition: every exchange of every pair, counted."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantik_pipeline.search.evaluation.significance import EXACT, holm, paired_p

SCORES = st.lists(st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 0.63, 1.0])] * 2), min_size=1, max_size=9)


def by_definition(pairs):
    """The share of exchanges whose means differ at least as much as the pairs' own."""
    seen = abs(sum(a - b for a, b in pairs))
    exchanges = list(product((1, -1), repeat=len(pairs)))
    met = [abs(sum(sign * (a - b) for sign, (a, b) in zip(signs, pairs, strict=True))) for signs in exchanges]
    return sum(one >= seen - 1e-9 for one in met) / len(exchanges)


@given(SCORES)
@settings(deadline=None)
def test_few_pairs_have_the_p_of_the_definition(pairs):
    ours, theirs = zip(*pairs, strict=True)
    assert paired_p(ours, theirs) == pytest.approx(by_definition(pairs))


@given(SCORES)
@settings(deadline=None)
def test_it_does_not_matter_which_comes_first_nor_who_is_alike(pairs):
    ours, theirs = map(list, zip(*pairs, strict=True))
    assert paired_p(ours, theirs) == paired_p(theirs, ours)
    assert paired_p([*ours, 0.3, 1.0], [*theirs, 0.3, 1.0]) == paired_p(ours, theirs)


def test_many_pairs_are_drawn_and_come_near_the_definition():
    random = np.random.default_rng(4)
    differences = random.normal(0.1, 0.4, EXACT + 2)
    numbers = np.arange(2 ** len(differences))[:, None]
    signs = 1.0 - 2.0 * ((numbers >> np.arange(len(differences))) & 1)
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)
    drawn = paired_p(differences, np.zeros(len(differences)))
    assert 0.02 < exact < 0.5
    assert drawn == pytest.approx(exact, abs=0.02)
    assert drawn == paired_p(differences, np.zeros(len(differences)))


def test_what_is_always_better_is_no_luck_and_what_is_alike_is():
    assert paired_p([1.0] * 8, [0.5] * 8) == 2 / 2**8
    assert paired_p([1.0] * 200, [0.5] * 200) < 0.001
    assert paired_p([0.5] * 200, [0.5] * 200) == 1.0
    assert paired_p([], []) == 1.0


def test_pairs_need_two():
    with pytest.raises(ValueError, match="2 scores are paired with 1"):
        paired_p([1.0, 0.5], [1.0])


def test_under_no_difference_p_is_small_as_seldom_as_it_says():
    random = np.random.default_rng(11)
    ps = [paired_p(random.normal(0, 1, 12), random.normal(0, 1, 12)) for _ in range(200)]
    assert sum(p <= 0.05 for p in ps) <= 20  # 10 are to be expected


def test_holm_is_that_of_the_paper():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({}) == {}


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.0, 1.0), max_size=8))
def test_holm_never_lowers_a_p_and_keeps_their_order(ps):
    adjusted = holm(ps)
    assert list(adjusted) == list(ps)
    assert all(ps[name] <= adjusted[name] <= 1 for name in ps)
    ordered = sorted(ps, key=ps.get)
    assert [adjusted[name] for name in ordered] == sorted(adjusted.values())
