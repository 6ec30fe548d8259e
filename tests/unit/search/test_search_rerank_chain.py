"""Several rerankers in a row: what each reads, and that none of them can spoil what the others say."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import threading
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semantik_pipeline.contracts import RerankerCapabilities
from semantik_pipeline.documents import RerankResult
from semantik_pipeline.errors import PluginLoadError, PluginNotFoundError, UsageError
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.search.request import plan_search
from semantik_pipeline.search.rerank_choice import MAX_CHAIN, ChosenReranker, chosen_rerankers, read_by
from semantik_pipeline.search.reranking import know_pace, known_pace, rerank
from semantik_pipeline.search.retrieval import retrieve
from tests.unit.search.conftest import LetterEmbedder


def ask(runtime, text="lease expiry", **options):
    return search(runtime, SearchQuery(text=text, **options))


def texts(answer):
    return [hit.text for hit in answer.hits]


@pytest.fixture
def library(runtime):
    for text in ("lease expiry of workers", "lease renewal", "zebra jazz quiz", "expiry of milk", "qqq zzz"):
        runtime.add(text)
    return runtime


@pytest.fixture
def install(runtime, script_reranker):
    """``install("id", script, calibrated=True …) -> ScriptedReranker``."""

    def give(plugin_id, script, **capabilities):
        runtime.host.plugins[plugin_id] = plugin = script_reranker(script, **capabilities)
        return plugin

    return give


# -- what a chain does -----------------------------------------------------------------------------------------------


def test_each_reads_the_best_of_what_the_one_before_gave(runtime, install, scored_by):
    for number in range(100):
        runtime.add(f"lease {number:03}")
    first = install("first", scored_by(lambda text: int(text.split()[1])))
    second = install("second", scored_by(lambda text: -int(text.split()[1])))
    answer = ask(runtime, reranker=["first", "second"], rerank_weight=1.0)
    read = [text for part in first.slices for text in part]
    assert len(read) == 50
    best = sorted(read, reverse=True)[:25]  # by the first one's word
    assert [text for part in second.slices for text in part] == best
    assert texts(answer) == sorted(best)[:10]  # by the second one's
    assert [(one["id"], one["scored"], one["candidates"]) for one in answer.rerankers] == [
        ("first", 50, 50),
        ("second", 25, 25),
    ]
    assert all(one["duration_ms"] >= 0 and one["reason"] is None for one in answer.rerankers)
    assert answer.reranked is True
    assert answer.warnings == []


@pytest.mark.parametrize(("candidates", "read"), [(200, [200, 100, 50, 25]), (50, [50, 25, 20, 20]), (7, [7, 7, 7, 7])])
def test_each_reads_half_as_many_but_twenty_where_there_are(candidates, read):
    assert [read_by(place, candidates) for place in range(4)] == read


def test_the_blend_of_one_is_what_the_next_is_blended_with(library, install, scored_by):
    install("first", scored_by(lambda text: 1.0 if "zebra" in text else 0.5), calibrated=True)
    install("second", scored_by(lambda text: 1.0 if "milk" in text else 0.2), calibrated=True)
    view = library.ledger.search_view("default")
    plan = plan_search(
        SearchQuery(text="lease expiry", reranker=["first", "second"], rerank_weight=0.4), library.settings.search, {}
    )
    (vector,) = library.query_vectors.of(library, view, [plan.text])
    candidates = retrieve(library, view, plan, vector).candidates
    outcome = rerank(library.host, plan, candidates)
    assert len(outcome.ranked) == 5
    for entry in outcome.ranked:
        said = {one.reranker: one for one in entry.judgements}
        assert [*said] == ["first", "second"]
        after_first = 0.4 * said["first"].share + 0.6 * entry.candidate.fused
        assert entry.score == pytest.approx(0.4 * said["second"].share + 0.6 * after_first)
        assert said["first"].score == said["first"].share
        assert entry.rerank == said["second"].score


def test_scores_that_are_calibrated_are_taken_as_they_are(library, install, scored_by):
    install("sure", scored_by(lambda text: 0.01), calibrated=True)
    for hit in ask(library, reranker="sure", rerank_weight=0.5).hits:
        assert hit.score == pytest.approx(0.5 * 0.01 + 0.5 * hit.scores["fused"])
    install("logits", scored_by(lambda text: -7.0), calibrated=True)  # which it only says to be
    for hit in ask(library, reranker="logits", rerank_weight=0.5).hits:
        assert hit.score == pytest.approx(0.5 + 0.5 * hit.scores["fused"])


def test_feedback_is_what_the_one_before_found_best(library, install, scored_by, script_reranker):
    given_feedback = []

    class Taking(type(script_reranker(scored_by(len)))):
        async def rerank(self, query, documents, top_k=None, metadata=None, feedback_vectors=None):
            given_feedback.append(feedback_vectors)
            return [RerankResult(index, 1.0) for index in range(len(documents))]

    install("first", scored_by(lambda text: "zebra" in text))
    library.host.plugins["second"] = Taking(None)
    ask(library, reranker=["first", "second"], rerank_weight=0.9)
    (best,) = asyncio.run(LetterEmbedder().embed_texts(["zebra jazz quiz"]))
    assert given_feedback[0][0] == pytest.approx(best, abs=1e-6)


# -- who is in it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("collection", "named", "expected"),
    [
        ({}, None, [("words", {})]),
        ({"search": {"rerankers": ["a", {"plugin": "b", "options": {"x": 1}}]}}, None, [("a", {}), ("b", {"x": 1})]),
        ({"search": {"rerankers": ["a"]}, "default_reranker": "b"}, None, [("a", {})]),
        ({"search": {"rerankers": []}}, None, []),
        ({"search": {}, "default_reranker": "b"}, None, [("b", {})]),
        ({"search": {"rerankers": [{"plugin": "b", "options": {"x": 1}}]}}, ("c", "b"), [("c", {}), ("b", {"x": 1})]),
    ],
)
def test_the_chain_is_the_callers_then_the_collections_then_the_settings(collection, named, expected):
    chain = chosen_rerankers(named, collection, "words")
    assert [(one.plugin, one.options) for one in chain] == expected
    assert all(one.named == (named is not None) for one in chain)


def test_the_settings_may_name_several():
    assert chosen_rerankers(None, {}, ["a", "b"]) == (ChosenReranker(plugin="a"), ChosenReranker(plugin="b"))


@pytest.mark.parametrize("named", [[], [""], ["a", "a"], [f"r{i}" for i in range(MAX_CHAIN + 1)], ["a", 7]])
def test_a_chain_that_makes_no_sense_is_refused(library, named):
    with pytest.raises(UsageError):
        ask(library, reranker=named)


def test_a_query_with_a_chain_survives_json():
    query = SearchQuery(text="x", reranker=["a", "b"])
    assert query.reranker == ("a", "b")
    assert SearchQuery(**json.loads(json.dumps(asdict(query)))) == query


def test_no_rerank_asks_nobody_of_a_chain(library):
    answer = ask(library, rerank=False, reranker=["a", "b"])
    assert library.host.asked == []
    assert answer.rerankers == []


# -- what goes wrong -------------------------------------------------------------------------------------------------


def endless(query, documents):
    return (RerankResult(0, 1.0) for _ in itertools.count())


WRONG = {
    "throws": (lambda query, documents: 1 / 0, "ZeroDivisionError"),
    "no list": (lambda query, documents: None, "instead of a list of results"),
    "too few": (lambda query, documents: [RerankResult(0, 0.5)], "gave no usable score for the others"),
    "too many": (lambda query, documents: [RerankResult(i, 0.5) for i in range(9)], "index out of range"),
    "twice": (lambda query, documents: [RerankResult(0, 0.5)] * 2, "index given twice"),
    "out of range": (lambda query, documents: [RerankResult(-1, 1.0)], "index out of range"),
    "not a number": (lambda query, documents: [RerankResult(i, math.nan) for i in range(5)], "score not finite"),
    "endless": (endless, "too many results"),
}


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("kind", WRONG)
def test_one_that_goes_wrong_is_told_of_and_the_other_counts(library, install, scored_by, kind, place):
    script, told = WRONG[kind]
    install("odd", script, max_documents=5, first_documents=5)
    install("good", scored_by(lambda text: 1.0 if "zebra" in text else 0.0))
    chain = ["good", "good"]
    chain[place] = "odd"
    answer = ask(library, reranker=chain, rerank_weight=0.9)
    assert sorted(texts(answer)) == sorted(texts(ask(library, rerank=False)))
    by_id = {one["id"]: one for one in answer.rerankers}
    assert [*by_id] == chain
    assert by_id["good"]["scored"] == 5
    assert answer.reranked
    assert any("odd" in warning and told in warning for warning in answer.warnings), answer.warnings
    assert all(0 <= hit.score <= 1 for hit in answer.hits)


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        ({}, [30, 25]),  # of 50, what it says that is worth reading; then half of 50
        ({"limit": 100, "reranked_for": 10}, [30, 25]),  # as in a search for ten
        ({"candidates": 50}, [50, 25]),  # the caller's word counts
        ({"limit": 1}, [20, 20]),
        ({"limit": 60}, [180, 100]),
    ],
)
def test_one_reads_no_more_than_it_declares_to_be_worth_reading(runtime, install, scored_by, asked, read):
    for number in range(210):
        runtime.add(f"lease {number:03}")
    first = install("first", scored_by(lambda text: int(text.split()[1])), candidates_per_hit=3)
    second = install("second", scored_by(len))
    answer = ask(runtime, reranker=["first", "second"], **asked)
    assert [sum(map(len, plugin.slices)) for plugin in (first, second)] == read
    assert [one["candidates"] for one in answer.rerankers] == read
    assert answer.warnings == []


def test_one_that_hangs_leaves_the_next_its_part_of_the_time(library, install, scored_by):
    hang = threading.Event()
    install("hangs", lambda query, documents: hang.wait(60))
    install("good", scored_by(lambda text: 1.0 if "zebra" in text else 0.0))
    answer = ask(library, reranker=["hangs", "good"], rerank_weight=0.9, rerank_deadline=2.0)
    hang.set()
    assert answer.hits[0].text == "zebra jazz quiz"
    assert answer.warnings == ["reranked 0 of 5 by hangs: deadline"]
    assert answer.rerankers[0]["reason"] == "deadline"


def test_one_that_cannot_load_is_skipped(library, install, scored_by):
    library.host.plugins["broken"] = PluginLoadError("Its weights are not there.")
    install("good", scored_by(len))
    answer = ask(library, reranker=["broken", "good"])
    assert answer.warnings == ["not reranked: broken is not available (Its weights are not there.)"]
    assert [(one["id"], one["scored"]) for one in answer.rerankers] == [("broken", 0), ("good", 5)]
    with pytest.raises(PluginNotFoundError):
        ask(library, reranker=["good", "nobody"])


result = st.builds(
    RerankResult, st.integers(-2, 7) | st.none(), st.floats() | st.none() | st.integers(-(10**400), 10**400)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(result, max_size=12), min_size=1, max_size=3), st.floats(0, 1), st.booleans())
def test_whatever_they_answer_the_hits_are_the_candidates_each_once(library, install, answers, weight, calibrated):
    for place, answer in enumerate(answers):
        install(f"r{place}", lambda query, documents, answer=answer: answer, calibrated=calibrated)
    found = ask(library, reranker=[f"r{place}" for place in range(len(answers))], rerank_weight=weight)
    assert sorted(hit.document for hit in found.hits) == [f"doc-{i}" for i in range(1, 6)]
    assert [-hit.score for hit in found.hits] == sorted(-hit.score for hit in found.hits)


def test_a_plugin_that_can_be_no_key_reranks_as_well(library, script_reranker, scored_by):
    class Equal(type(script_reranker(scored_by(len)))):
        def __eq__(self, other):
            return True

    library.host.plugins["equal"] = Equal(scored_by(len))
    assert ask(library, reranker="equal").reranked


def test_the_pace_of_the_search_before_is_known(runtime, install, scored_by):
    for number in range(100):
        runtime.add(f"lease {number:03}")
    quick = install("quick", scored_by(len), max_documents=1000)
    assert known_pace(quick) is None
    ask(runtime, reranker="quick")
    assert len(quick.slices[0]) == 4
    assert known_pace(quick) > 0
    know_pace(quick, 0.0)
    quick.slices.clear()
    ask(runtime, reranker="quick")
    assert len(quick.slices[0]) == 50


def test_one_whose_limits_are_no_numbers_is_told_of(library, install, scored_by):
    odd = install("odd", scored_by(len))
    odd.get_limits = lambda: RerankerCapabilities(candidates_per_hit=2.5)
    answer = ask(library, reranker="odd")
    assert len(answer.hits) == 5
    assert not answer.reranked
    assert answer.warnings == [
        "not reranked: odd is not available (candidates_per_hit of a reranker's capabilities is 2.5; it must be a "
        "whole number)"
    ]
