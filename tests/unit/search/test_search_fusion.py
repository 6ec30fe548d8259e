"""Laws of fusion: it permutes what the legs found, follows the scores, and cares for their order only in scale."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.documents import Leg, ScoredPoint
from semantik_pipeline.search.fusion import by_spread, fuse, leg_of, min_max

scores = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3)),
    max_size=25,
)
weights = st.floats(0, 1)
methods = st.sampled_from(["minmax", "rrf", "dbsf"])
of_scores = st.sampled_from(["minmax", "dbsf"])


def leg(scores: dict[str, float]) -> Leg:
    return Leg.of(sorted((ScoredPoint(id=k, score=v) for k, v in scores.items()), key=lambda p: (-p.score, p.id)))


@given(scores, st.slices(12))
def test_a_leg_is_the_sequence_of_its_points(scores, part):
    points = sorted((ScoredPoint(id=k, score=v) for k, v in scores.items()), key=lambda p: -p.score)
    made = Leg.of(points)
    assert (list(made), len(made), bool(made)) == (points, len(points), bool(points))
    assert list(made[part]) == points[part]
    assert list(made[-1:]) == ([made[-1]] if points else [])
    assert list(made.by_id.items()) == [(point.id, point.score) for point in points]
    assert Leg.of(made) == made == Leg.of(list(made))


@given(scores, scores, st.lists(st.sampled_from([math.nan, math.inf, -math.inf]), min_size=1), weights, methods)
def test_a_score_that_is_no_number_takes_no_other_out_of_its_place(dense, sparse, odd, weight, method):
    for at in range(len(dense) + 1):
        points = list(leg(dense))
        points[at:at] = [ScoredPoint(id=f"odd{number}", score=score) for number, score in enumerate(odd)]
        for answer in (points, Leg([one.id for one in points], [one.score for one in points])):
            legs = {"dense": leg_of(answer), "sparse": leg(sparse)}
            found = {one.id: one.fused for one in fuse(legs, dense_weight=weight, method=method)}
            assert found == fused_by_id(dense, sparse, weight, method)


def test_scores_whose_sum_is_beyond_a_float_are_numbers():
    points = [ScoredPoint(id=id, score=1.5e308) for id in "ab"]
    assert list(leg_of(points)) == points


@given(scores, scores, weights, methods)
def test_every_point_of_the_legs_is_there_once(dense, sparse, weight, method):
    fused = list(fuse({"dense": leg(dense), "sparse": leg(sparse)}, dense_weight=weight, method=method))
    assert sorted(c.id for c in fused) == sorted({*dense, *sparse})
    assert all(-1e-9 <= c.fused <= 1 + 1e-9 for c in fused)
    assert [(-c.fused, c.id) for c in fused] == sorted((-c.fused, c.id) for c in fused)


@given(scores, scores, weights, methods)
def test_raw_scores_are_kept_and_a_leg_that_missed_is_absent(dense, sparse, weight, method):
    for c in fuse({"dense": leg(dense), "sparse": leg(sparse)}, dense_weight=weight, method=method):
        assert c.scores.get("dense") == dense.get(c.id)
        assert c.scores.get("sparse") == sparse.get(c.id)


def fused_by_id(dense, sparse, weight, method):
    found = fuse({"dense": leg(dense), "sparse": leg(sparse)}, dense_weight=weight, method=method)
    return {c.id: c.fused for c in found}


@given(scores, scores, weights, methods)
def test_better_in_both_legs_is_never_behind(dense, sparse, weight, method):
    fused = fused_by_id(dense, sparse, weight, method)
    both = [id for id in dense if id in sparse]
    for a in both:
        for b in both:
            ahead = (
                dense[a] > dense[b] and sparse[a] > sparse[b] if method == "rrf" else None
            )  # ranks part equal scores
            if ahead or (ahead is None and dense[a] >= dense[b] and sparse[a] >= sparse[b]):
                assert fused[a] >= fused[b] - 1e-12


@given(scores, scores, weights, methods, st.randoms(use_true_random=False))
def test_what_a_point_is_called_does_not_matter(dense, sparse, weight, method, random):
    dense = {
        id: score for id, score in dense.items() if list(dense.values()).count(score) == 1
    }  # ranks part equal ones
    sparse = {id: score for id, score in sparse.items() if list(sparse.values()).count(score) == 1}
    ids = sorted({*dense, *sparse})
    renamed = dict(zip(ids, random.sample(ids, len(ids)), strict=True))
    other = fused_by_id(
        {renamed[id]: score for id, score in dense.items()},
        {renamed[id]: score for id, score in sparse.items()},
        weight,
        method,
    )
    assert {renamed[id]: fused for id, fused in fused_by_id(dense, sparse, weight, method).items()} == pytest.approx(
        other
    )


@given(scores, weights, methods, st.sampled_from(["dense", "sparse"]))
def test_a_leg_that_found_nothing_has_no_say(found, weight, method, name):
    alone = [(c.id, c.fused) for c in fuse({name: leg(found)}, dense_weight=weight, method=method)]
    empty = {"dense": [], "sparse": [], name: leg(found)}
    assert [(c.id, c.fused) for c in fuse(empty, dense_weight=weight, method=method)] == alone
    assert [id for id, _ in alone][:1] == [point.id for point in leg(found)][:1]


@given(scores, scores, weights, st.floats(0.01, 100), st.floats(-100, 100), of_scores)
def test_scale_and_offset_of_a_leg_do_not_matter(dense, sparse, weight, factor, offset, method):
    plain = fused_by_id(dense, sparse, weight, method)
    moved = {id: score * factor + offset for id, score in dense.items()}
    scaled = fused_by_id(moved, sparse, weight, method)
    assert scaled.keys() == plain.keys()
    assert all(math.isclose(scaled[id], plain[id], abs_tol=1e-5) for id in plain)


@given(
    st.dictionaries(st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
    st.sampled_from([min_max, by_spread]),
)
def test_normalising_is_monotone_and_within_bounds(values, scale):
    normal = scale(values)
    assert normal.keys() == values.keys()
    assert all(0 <= score <= 1 for score in normal.values())
    ordered = sorted(values, key=values.get)
    assert all(normal[a] <= normal[b] for a, b in itertools.pairwise(ordered))
    if values and scale is min_max:
        assert max(normal.values()) == 1.0


def test_one_outlier_does_not_press_the_others_together():
    values = {f"{n}": float(n) for n in range(20)} | {"far": 1000.0}
    assert min_max(values)["19"] - min_max(values)["0"] < 0.02
    assert by_spread(values)["far"] == 1.0
    assert by_spread({"a": 1.0, "b": 3.0}) == pytest.approx({"a": 1 / 3, "b": 2 / 3})  # mean 2, deviation 1


def test_scores_without_a_spread_lie_in_the_middle():
    assert by_spread({"a": 3.0, "b": 3.0}) == {"a": 0.5, "b": 0.5}
    assert by_spread({"a": -5.0}) == {"a": 0.5}
    assert by_spread({}) == {}


def test_equal_scores_and_a_single_one_count_as_full():
    assert min_max({"a": 3.0, "b": 3.0}) == {"a": 1.0, "b": 1.0}
    assert min_max({"a": -5.0}) == {"a": 1.0}
    assert min_max({}) == {}


def test_a_point_that_one_leg_missed_counts_as_its_lowest():
    fused = list(
        fuse({"dense": leg({"a": 0.9, "b": 0.5, "c": 0.1}), "sparse": leg({"b": 12.0, "d": 4.0})}, dense_weight=0.6)
    )
    assert {c.id: pytest.approx(c.fused) for c in fused} == {"a": 0.6, "b": 0.6 * 0.5 + 0.4, "c": 0.0, "d": 0.0}
    assert [c.id for c in fused] == ["b", "a", "c", "d"]


def test_an_empty_leg_has_no_say():
    fused = list(fuse({"dense": leg({"a": 0.9, "b": 0.5}), "sparse": leg({})}, dense_weight=0.6))
    assert [(c.id, c.fused) for c in fused] == [("a", 1.0), ("b", 0.0)]


def test_reciprocal_ranks_reward_both_legs_and_reach_one():
    fused = list(fuse({"dense": leg({"a": 0.9, "b": 0.5}), "sparse": leg({"a": 3.0, "c": 1.0})}, method="rrf"))
    assert fused[0].id == "a"
    assert fused[0].fused == pytest.approx(1.0)
    assert [c.id for c in fused[1:]] == ["b", "c"]  # equal: in order of id
    assert fused[1].fused == pytest.approx((1 / 62) / (2 / 61))


@given(scores, scores, weights, methods, st.integers(1, 20))
def test_what_lies_deeper_continues_the_list_and_changes_nothing_of_it(dense, sparse, weight, method, scored):
    deep = {"dense": leg(dense), "sparse": leg(sparse)}
    shallow = {name: found[:scored] for name, found in deep.items()}
    short = [(c.id, c.fused) for c in fuse(shallow, dense_weight=weight, method=method, scored=scored)]
    long = [(c.id, c.fused) for c in fuse(deep, dense_weight=weight, method=method, scored=scored)]
    assert long[: len(short)] == short
    assert {fused for _, fused in long[len(short) :]} <= {0.0}
    assert sorted(id for id, _ in long) == sorted({*dense, *sparse})
