"""Whatever a reranker answers, the candidates come back: each once, the scored ones in a sensible order."""

from __future__ import annotations

import itertools
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.contracts import RerankerCapabilities
from semantik_pipeline.documents import RerankResult
from semantik_pipeline.search.blending import blend, shares, unranked
from semantik_pipeline.search.fusion import Candidate
from semantik_pipeline.search.places import MAX_RUNS, MAX_RUNS_OF_ALL
from semantik_pipeline.search.rerank_check import accepted
from semantik_pipeline.search.rerank_slices import (
    GROWTH,
    HOPE,
    SLICE_SECONDS,
    next_slice,
    score_within,
)
from semantik_pipeline.search.reranking import cut

fused_scores = st.lists(st.floats(0, 1), max_size=30).map(lambda xs: sorted(xs, reverse=True))
anything = st.one_of(
    st.none(),
    st.integers(-3, 40),
    st.floats(),
    st.text(max_size=3),
    st.builds(
        RerankResult,
        st.one_of(st.integers(-3, 40), st.floats(), st.none(), st.text(max_size=2)),
        st.one_of(st.floats(), st.none(), st.integers(), st.text(max_size=3)),
    ),
)


def candidates(scores):
    return unranked([Candidate(id=f"{i:03}", fused=score) for i, score in enumerate(scores)]).ranked


@given(fused_scores, st.lists(anything, max_size=60), st.floats(0, 1), st.booleans())
def test_blending_permutes_the_candidates_whatever_the_reranker_answers(scores, answer, weight, calibrated):
    known = candidates(scores)
    good, _ = accepted(answer, len(known))
    assert all(0 <= index < len(known) and math.isfinite(score) for index, score in good.items())
    ranked = blend(known, good, weight, reranker="words", calibrated=calibrated)
    assert sorted(r.candidate.id for r in ranked) == [r.candidate.id for r in known]
    assert [-r.score for r in ranked] == sorted(-r.score for r in ranked)
    assert all(0 <= r.score <= 1 for r in ranked)
    assert {i: r.rerank for r in ranked if (i := int(r.candidate.id)) in good} == good


@given(fused_scores, st.integers(0, 30), st.lists(st.floats(-10, 10), min_size=30, max_size=30), st.floats(0, 1))
def test_running_out_of_time_never_lifts_the_unscored_over_the_scored(scores, done, judged, weight):
    known = candidates(scores)
    ranked = blend(known, dict(enumerate(judged[: min(done, len(known))])), weight, reranker="words")
    worst_scored = min((r.score for r in ranked if r.rerank is not None), default=math.inf)
    best_unscored = max((r.score for r in ranked if r.rerank is None), default=-math.inf)
    assert worst_scored >= best_unscored


@given(
    fused_scores,
    st.lists(st.tuples(st.integers(0, 30), st.lists(st.floats(-10, 10), min_size=30, max_size=30)), max_size=3),
    st.floats(0, 1),
    st.booleans(),
)
def test_a_row_of_rerankers_permutes_too_and_lifts_nobody_unscored(scores, row, weight, calibrated):
    """Each scores the best of what the one before gave, as far as it comes."""
    ranked = candidates(scores)
    ids = [r.candidate.id for r in ranked]
    for name, (done, judged) in zip("abc", row, strict=False):
        before = ranked
        scored = dict(enumerate(judged[: min(done, len(before))]))
        ranked = blend(before, scored, weight, reranker=name, calibrated=calibrated)
        assert sorted(r.candidate.id for r in ranked) == ids
        new = {r.candidate.id: len(r.judgements) for r in ranked}
        scored = {r.candidate.id for r in before if new[r.candidate.id] > len(r.judgements)}
        worst_scored = min((r.score for r in ranked if r.candidate.id in scored), default=math.inf)
        best_unscored = max((r.score for r in ranked if r.candidate.id not in scored), default=-math.inf)
        assert worst_scored >= best_unscored


@given(st.dictionaries(st.integers(0, 30), st.floats(allow_nan=False, allow_infinity=False)), st.booleans())
def test_shares_are_within_0_and_1_and_in_the_order_of_the_scores(scores, calibrated):
    found = shares(scores, calibrated)
    assert found.keys() == scores.keys()
    assert all(0 <= share <= 1 for share in found.values())
    by_score = sorted(scores, key=lambda position: scores[position])
    assert all(found[a] <= found[b] for a, b in itertools.pairwise(by_score))
    if calibrated and all(0 <= score <= 1 for score in scores.values()):
        assert found == scores


@given(fused_scores, st.lists(st.floats(-10, 10), min_size=30, max_size=30))
def test_weight_one_is_the_rerankers_order_and_weight_zero_the_fused_one(scores, judged):
    known = candidates(scores)
    full = dict(enumerate(judged[: len(known)]))
    by_reranker = [r.rerank for r in blend(known, full, 1.0, reranker="words")]
    span = max(by_reranker, default=0) - min(by_reranker, default=0)
    assert all(a >= b - span * 1e-12 for a, b in itertools.pairwise(by_reranker))
    assert [r.candidate.fused for r in blend(known, full, 0.0, reranker="words")] == scores


def test_each_violation_is_named_and_the_rest_counts():
    answer = [
        RerankResult(0, 1.0), RerankResult(0, 9.0), RerankResult(7, 1.0), RerankResult(-1, 1.0),
        RerankResult(1, math.nan), RerankResult(2, math.inf), "nonsense", RerankResult(np.int64(3), np.float32(0.5)),
        RerankResult(4, 10**400),
    ]  # fmt: skip
    good, violations = accepted(answer, 5)
    assert good == {0: 1.0, 3: 0.5}
    assert sorted(violations) == [
        "1 result(s) dropped: index given twice",
        "2 result(s) dropped: index out of range",
        "2 result(s) dropped: not a RerankResult with an integer index and a number as score",
        "2 result(s) dropped: score not finite",
    ]


@pytest.mark.parametrize("answer", [None, 7, object()])
def test_an_answer_that_is_no_list_is_a_violation(answer):
    good, violations = accepted(answer, 3)
    assert good == {}
    assert "instead of a list" in violations[0]


@given(
    st.integers(0, 64),
    st.floats(0, 100),
    st.floats(-1, 1e9),
    st.integers(-1, 50),
    st.booleans(),
    st.integers(-1, 60),
    st.none() | st.floats(0, 10),
)
def test_a_slice_fits_the_reranker_and_the_time_left(before, seconds, left, largest, batching, first, known):
    capabilities = RerankerCapabilities(max_documents=largest, supports_batching=batching, first_documents=first)
    count = next_slice(before, seconds, left, capabilities, known)
    assert 0 <= count <= max(1, largest if batching else 1)
    if before == 0:
        assert count >= 1
    else:
        assert count <= GROWTH * before
        assert count <= max(first, 1, SLICE_SECONDS * before / max(seconds, 1e-12) * (1 + 1e-9))
        assert count * seconds / before <= HOPE * max(0.0, left) * (1 + 1e-9)


def test_slices_grow_while_time_allows_and_end_when_it_does_not():
    capabilities = RerankerCapabilities(max_documents=100)
    assert next_slice(0, 0.0, math.inf, capabilities) == 4
    assert next_slice(4, 0.01, math.inf, capabilities) == 16
    assert next_slice(16, 0.02, math.inf, capabilities) == 64
    assert next_slice(64, 0.02, math.inf, capabilities) == 100
    assert next_slice(16, 0.1, math.inf, capabilities) == 16  # as many as a short while is enough for
    assert next_slice(4, 0.4, math.inf, capabilities) == 4
    assert next_slice(0, 0.0, math.inf, RerankerCapabilities(max_documents=100, first_documents=32)) == 32
    for pace, count in ((0.1, 4), (0.005, 5), (0.0005, 50), (0.0, 100)):  # of the search before
        assert next_slice(0, 0.0, math.inf, capabilities, pace) == count
    for pace, count in ((0.1, 3), (0.2, 1), (9.0, 1)):  # so slow that four would not be done in time
        assert next_slice(0, 0.0, 0.5, capabilities, pace) == count
    assert next_slice(4, 0.4, 0.35, capabilities) == 2
    assert next_slice(8, 0.2, 0.1, capabilities) == 2
    assert next_slice(4, 0.4, 0.05, capabilities) == 0


def run(scorer, count, deadline=30.0, of="words", **capabilities):
    limits, texts = RerankerCapabilities(**capabilities), [f"text {i}" for i in range(count)]
    return score_within(deadline, lambda part: scorer(texts[part], [{}] * len(texts[part])), count, limits, of=(of, of))


def length_scores(texts, metadata):
    return [RerankResult(i, float(text.split()[1])) for i, text in enumerate(texts)]


def test_positions_are_those_of_all_texts_not_of_the_slice():
    outcome = run(length_scores, 50, max_documents=7)
    assert outcome.scores == {i: float(i) for i in range(50)}
    assert outcome.reason is None


def test_no_deadline_is_no_deadline():
    assert len(run(length_scores, 40, deadline=math.inf).scores) == 40


def test_a_slice_still_running_at_the_deadline_is_abandoned_and_the_earlier_ones_count():
    hang = threading.Event()
    calls = []

    def scorer(texts, metadata):
        calls.append(len(texts))
        if len(calls) == 2:
            hang.wait(60)
        return length_scores(texts, metadata)

    start = time.monotonic()
    outcome = run(scorer, 50, deadline=1.0, max_documents=10)
    waited = time.monotonic() - start
    hang.set()
    assert waited < 30  # far from the minute that the slice would take
    assert outcome.scores == {i: float(i) for i in range(4)}
    assert outcome.reason == "deadline"
    assert outcome.pace is not None  # of the slice that was done


def test_one_that_is_never_done_begins_with_less_the_next_time():
    hang = threading.Event()
    outcome = run(lambda texts, metadata: hang.wait(60), 50, deadline=0.5)
    hang.set()
    assert outcome.scores == {}
    assert outcome.pace >= 0.25 / 4  # on a busy machine its thread begins late


def test_the_answer_leaves_before_the_deadline():
    waits, hang = [], threading.Event()
    for _ in range(5):
        start = time.monotonic()
        run(lambda texts, metadata: hang.wait(60), 50, deadline=0.2)
        waits.append(time.monotonic() - start)
    hang.set()
    assert min(waits) < 0.2  # a busy machine wakes somebody late now and then


def test_after_the_deadline_no_further_slice_is_begun():
    hang, calls, second = threading.Event(), [], threading.Event()

    def scorer(texts, metadata):
        calls.append(len(texts))
        if len(calls) > 1:
            second.set()
        hang.wait(60)
        return length_scores(texts, metadata)

    assert run(scorer, 50, deadline=0.05).scores == {}
    hang.set()
    assert not second.wait(0.3)


def test_a_scorer_that_raises_keeps_what_came_before():
    calls = iter(range(10))

    def scorer(texts, metadata):
        if next(calls) == 1:
            raise RuntimeError("out of luck")
        return length_scores(texts, metadata)

    outcome = run(scorer, 30, max_documents=10)
    assert len(outcome.scores) == 4
    assert outcome.reason == "RuntimeError: out of luck"


def test_endless_results_are_not_read_to_their_end():
    outcome = run(lambda texts, metadata: (RerankResult(0, 1.0) for _ in itertools.count()), 5, first_documents=5)
    assert outcome.scores == {0: 1.0}
    assert outcome.warnings[-1] == "returned too many results; the rest was not read"


def test_results_that_take_for_ever_end_at_the_deadline():
    hang = threading.Event()

    def scorer(texts, metadata):
        return (RerankResult(0, 1.0) for _ in iter(lambda: hang.wait(60), True))

    outcome = run(scorer, 5, deadline=0.1)
    hang.set()
    assert outcome.scores == {}
    assert outcome.reason == "deadline"


@pytest.fixture
def hangs():
    """A scorer that hangs until the test is over, and keeps in ``begun`` when it began."""
    hang = threading.Event()

    def scorer(texts, metadata):
        scorer.begun.append(time.monotonic())
        hang.wait(60)
        return []

    scorer.begun = []
    yield scorer
    hang.set()
    until = time.monotonic() + 10
    while len(run(length_scores, 3).scores) < 3:  # until the places are free again
        assert time.monotonic() < until
        time.sleep(0.01)


def refused(scorer, of):
    """The reason that is given once the maximum number of its runs hang, and no other is begun.

    A busy machine may reach a run so late that it begins nothing, and still takes its place for a moment.
    """
    before, until = len(scorer.begun), time.monotonic() + 30
    while True:
        reason, begun = run(scorer, 1, deadline=0.01, of=of).reason, len(scorer.begun) - before
        assert begun <= MAX_RUNS, "more runs are begun than may hang"
        if reason != "deadline" and begun == MAX_RUNS:
            return reason
        assert time.monotonic() < until, (reason, begun)


def test_hanging_runs_are_bounded_and_are_no_other_rerankers(hangs):
    told = f"{MAX_RUNS} runs of it are still busy"
    assert refused(hangs, "words") == told
    assert run(hangs, 1, deadline=math.inf).reason == told  # nobody waits for those that hang
    assert len(run(length_scores, 3, of="another").scores) == 3


def test_hanging_runs_of_all_rerankers_are_bounded_too_and_named(hangs):
    names = [f"r{number}" for number in range(MAX_RUNS_OF_ALL // MAX_RUNS)]
    for name in names:
        refused(hangs, name)
    told = f"{MAX_RUNS_OF_ALL} runs of this process are still busy: {', '.join(names)}"
    assert run(length_scores, 3, deadline=math.inf, of="another").reason == told


def test_a_search_waits_for_another_ones_run_to_end():
    go, at_work = threading.Event(), threading.Semaphore(0)

    def slowly(texts, metadata):
        at_work.release()
        go.wait(60)
        return length_scores(texts, metadata)

    with ThreadPoolExecutor(MAX_RUNS + 1) as pool:
        outcomes = [pool.submit(run, slowly, 1) for _ in range(MAX_RUNS)]
        for _ in range(MAX_RUNS):
            assert at_work.acquire(timeout=30)
        outcomes.append(pool.submit(run, slowly, 1))
        assert not at_work.acquire(timeout=0.05)
        go.set()
        assert [one.result().scores for one in outcomes] == [{0: 0.0}] * (MAX_RUNS + 1)


@pytest.mark.parametrize(("tokens", "limit", "length"), [(10, 20, 100), (100, 50, 50), (5, 1, 20), (1000, 1, 1)])
def test_cut_keeps_the_share_that_fits(tokens, limit, length):
    assert len(cut("x" * 100, tokens, limit)) == length
