"""What a sync keeps of what its source could not read."""

from __future__ import annotations

from semantik_pipeline.stages.source_warnings import MORE, PROBLEMS, problems_told


def test_a_problem_that_each_slice_meets_is_told_once() -> None:
    assert problems_told(["a: denied"], ["a: denied", "b: denied"]) == ["a: denied", "b: denied"]


def test_no_more_than_people_read_slice_after_slice() -> None:
    many = [f"folder {number}: denied" for number in range(PROBLEMS + 50)]
    first = problems_told([], many)
    assert first == [*many[:PROBLEMS], MORE]
    assert problems_told(first, ["another: denied"]) == first
    assert problems_told(many[:PROBLEMS], many[:PROBLEMS]) == many[:PROBLEMS]
