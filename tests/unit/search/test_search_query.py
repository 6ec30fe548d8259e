"""A search as a caller sees it: what it shows, hides, says and refuses."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from dataclasses import FrozenInstanceError, replace
from uuid import UUID

import numpy as np
import pytest

from semantik_pipeline.builtin.rerankers.relevance_feedback import RelevanceFeedbackReranker
from semantik_pipeline.contracts import EmbeddingMode, RerankerCapabilities, RerankerPlugin
from semantik_pipeline.documents import Point, RerankResult
from semantik_pipeline.errors import (
    DimensionMismatch,
    PluginLoadError,
    PluginNotFoundError,
    ServiceUnavailable,
    UsageError,
)
from semantik_pipeline.search import SearchQuery, SeveralAnswers, merged, search
from semantik_pipeline.search.request import MAX_QUERY_CHARACTERS, candidates_for
from semantik_pipeline.search.several import whole
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


# -- modes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["hybrid", "dense", "sparse"])
@pytest.mark.parametrize("fusion", ["minmax", "rrf"])
def test_the_best_hit_comes_first_in_every_mode(library, mode, fusion):
    answer = ask(library, mode=mode, fusion=fusion, rerank=False)
    assert answer.hits[0].text == "lease expiry of workers"
    assert [hit.rank for hit in answer.hits] == list(range(1, len(answer.hits) + 1))
    assert [hit.score for hit in answer.hits] == sorted((hit.score for hit in answer.hits), reverse=True)
    assert answer.reranked is False


def test_both_legs_go_in_one_call_with_the_filter_on_each(library):
    wanted = {"must": [{"key": "language", "match": {"value": "en"}}]}
    ask(library, filter=wanted, rerank=False)
    [(name, requests)] = library.store.calls
    assert name == "default-7"
    assert [request.filter for request in requests] == [wanted, wanted]
    assert requests[0].vector is not None
    assert requests[1].text == "lease expiry"


def test_a_filter_keeps_only_what_meets_it(library):
    library.add("lease expiry auf Deutsch", language="de")
    assert texts(ask(library, filter={"must": [{"key": "language", "match": {"value": "de"}}]}, rerank=False)) == [
        "lease expiry auf Deutsch"
    ]


def test_the_query_is_embedded_as_a_query_and_not_at_all_in_sparse_mode(library):
    ask(library, mode="sparse", rerank=False)
    assert library._embedder.modes == []
    ask(library, rerank=False)
    assert library._embedder.modes == [EmbeddingMode.QUERY]


def test_raw_scores_of_each_leg_are_told(library):
    hit = ask(library, rerank=False).hits[0]
    assert hit.scores["sparse"] > 1.0  # BM25 knows no upper bound
    assert 0.5 < hit.scores["dense"] <= 1.0
    assert hit.scores["fused"] == hit.score
    assert hit.scores["rerank"] is None
    assert ask(library, mode="sparse", rerank=False).hits[0].scores["dense"] is None


def test_dense_weight_decides_between_the_legs(runtime):
    runtime.add("expiry lease")  # the very letters and words
    runtime.add("aaa lease expiry expiry")
    runtime.add("yripxe esael")  # the very letters, no word
    assert texts(ask(runtime, dense_weight=1.0, rerank=False))[:2] == ["expiry lease", "yripxe esael"]
    assert texts(ask(runtime, dense_weight=0.0, rerank=False))[:2] == ["expiry lease", "aaa lease expiry expiry"]


def test_equal_hits_come_in_order_of_id(runtime):
    for _ in range(5):
        runtime.add("lease expiry")
    assert [hit.document for hit in ask(runtime, rerank=False).hits] == [f"doc-{i}" for i in range(1, 6)]


def test_nothing_found_is_an_empty_answer(runtime, script_reranker, scored_by):
    script_reranker(scored_by(len))
    answer = ask(runtime)
    assert answer.hits == []
    assert answer.reranked is False
    assert answer.warnings == []


# -- visibility ------------------------------------------------------------------------------------------------------


def test_what_the_ledger_does_not_show_is_hidden(library):
    library.add("lease expiry deleted", indexed=False)
    library.add("lease expiry superseded", document_id=50, epoch=1)
    library.ledger.epochs[50] = 2
    library.add("lease expiry newer", document_id=60, epoch=3)
    library.ledger.epochs[60] = 2
    shown = texts(ask(library, rerank=False))
    assert "lease expiry newer" in shown
    assert "lease expiry deleted" not in shown
    assert "lease expiry superseded" not in shown


def test_hidden_hits_are_made_up_for_by_looking_deeper(runtime):
    for _ in range(700):
        runtime.add("lease expiry", indexed=False)
    for number in range(30):
        runtime.add(f"lease number {number}")
    runtime.add("owls hunt at night, in woods and over fields")
    answer = ask(runtime, limit=10, rerank=False)
    assert len(answer.hits) == 10
    assert all(text.startswith("lease number") for text in texts(answer))
    assert answer.hits[0].score > 0
    depths = [requests[0].limit for _, requests in runtime.store.calls]
    assert len(depths) > 1
    assert depths == sorted(set(depths))


def test_looking_deeper_ends_when_the_store_has_no_more(runtime):
    for _ in range(300):
        runtime.add("lease expiry", indexed=False)
    assert ask(runtime, rerank=False).hits == []
    assert len(runtime.store.calls) <= 3


def test_payloads_are_fetched_only_of_what_is_looked_at(runtime, monkeypatch):
    for number in range(100):
        runtime.add(f"lease expiry {number}")
    fetched = []
    scroll = runtime.store.scroll

    def recorded(name, **asked):
        page, after = scroll(name, **asked)
        fetched.extend(page)
        return page, after

    monkeypatch.setattr(runtime.store, "scroll", recorded)
    assert len(ask(runtime, limit=3, rerank=False).hits) == 3
    assert len(fetched) == 3
    assert all(not request.with_payload for _, requests in runtime.store.calls for request in requests)


def test_a_point_that_is_deleted_while_the_search_runs_is_left_out(library, monkeypatch):
    search_legs = library.store.search

    def search_then_delete(name, requests):
        legs = search_legs(name, requests)
        library.store.delete(name, ids=[legs[0][0].id])
        return legs

    monkeypatch.setattr(library.store, "search", search_then_delete)
    assert len(ask(library, rerank=False).hits) == 4


def test_points_without_the_pipelines_fields_are_not_shown(library):
    stray = Point(id=str(UUID(int=999)), vector=np.ones(26), sparse_text="lease", payload={"text": "lease expiry"})
    library.store.insert("default-7", [stray])
    assert "lease expiry" not in texts(ask(library, rerank=False))


# -- reranking -------------------------------------------------------------------------------------------------------


def test_the_reranker_reorders(library, script_reranker, scored_by):
    script_reranker(scored_by(lambda text: 1.0 if "zebra" in text else 0.0))
    answer = ask(library, rerank_weight=0.9)
    assert answer.reranked is True
    assert answer.hits[0].text == "zebra jazz quiz"
    assert answer.hits[0].scores["rerank"] == 1.0
    assert answer.warnings == []
    assert set(answer.timings_ms) == {"interpret", "embed", "retrieve", "rerank", "total"}


def test_candidates_are_five_times_the_limit_best_fused_first(runtime, script_reranker, scored_by):
    for number in range(300):
        runtime.add(f"lease {'expiry ' * (number % 2)}{number}")
    reranker = script_reranker(scored_by(len))
    ask(runtime, limit=8)
    assert sum(map(len, reranker.slices)) == 40
    best = texts(ask(runtime, limit=40, rerank=False))
    assert [text for part in reranker.slices for text in part] == best


@pytest.mark.parametrize(("limit", "count"), [(1, 20), (4, 20), (10, 50), (40, 200), (1000, 200)])
def test_candidates_stay_within_20_and_200(limit, count):
    assert candidates_for(limit) == count


def test_the_slices_fit_the_reranker(library, script_reranker, scored_by):
    reranker = script_reranker(scored_by(len), max_documents=2)
    assert ask(library).reranked
    assert [len(part) for part in reranker.slices] == [2, 2, 1]


def test_a_deadline_leaves_the_rest_in_fused_order_and_says_so(library, script_reranker):
    hang = threading.Event()

    def script(query, documents):
        if len(reranker.slices) > 1:
            hang.wait(60)
        return [RerankResult(0, 0.5), RerankResult(1, 0.9)]

    reranker = script_reranker(script, max_documents=2)
    fused = texts(ask(library, rerank=False))
    start = time.monotonic()
    answer = ask(library, rerank_deadline=1.0)
    waited = time.monotonic() - start
    hang.set()
    assert waited < 30
    assert answer.reranked is True
    assert answer.warnings == ["reranked 2 of 5: deadline"]
    assert texts(answer)[2:] == fused[2:]


def test_a_reranker_that_fails_leaves_the_fused_order(library, script_reranker):
    def script(query, documents):
        raise RuntimeError("out of luck")

    script_reranker(script)
    answer = ask(library)
    assert answer.reranked is False
    assert texts(answer) == texts(ask(library, rerank=False))
    assert answer.warnings == ["reranked 0 of 5: words: RuntimeError: out of luck"]


def test_bad_results_are_dropped_and_the_plugin_is_named(library, script_reranker):
    script_reranker(lambda query, documents: [RerankResult(i, math.nan if i else 1.0) for i in range(9)])
    answer = ask(library)
    assert answer.reranked is True
    assert len(answer.hits) == 5
    assert all("words" in warning for warning in answer.warnings)
    assert any("score not finite" in warning for warning in answer.warnings)
    assert any("index out of range" in warning for warning in answer.warnings)
    assert any(warning.startswith("reranked 2 of 5") for warning in answer.warnings)


def test_a_missing_reranker_falls_back_unless_the_caller_named_it(library):
    answer = ask(library)
    assert answer.reranked is False
    assert len(answer.hits) == 5
    assert answer.warnings[0].startswith("not reranked: words is not available")
    with pytest.raises(PluginNotFoundError):
        ask(library, reranker="nonsense")


def test_a_reranker_that_cannot_load_falls_back_even_if_named(library):
    library.host.plugins["broken"] = PluginLoadError("Its weights are not there.")
    answer = ask(library, reranker="broken")
    assert answer.reranked is False
    assert answer.warnings == ["not reranked: broken is not available (Its weights are not there.)"]


def test_no_rerank_asks_for_no_reranker(library):
    ask(library, rerank=False)
    assert library.host.asked == []


@pytest.mark.parametrize(
    ("collection", "named", "expected"),
    [
        ({"default_reranker": None}, None, ("words", {})),
        ({"default_reranker": "other"}, None, ("other", {})),
        ({"default_reranker": {"plugin": "other", "options": {"a": 1}}}, None, ("other", {"a": 1})),
        ({"default_reranker": {"plugin": "other", "options": {"a": 1}}}, "words", ("words", {})),
        ({"default_reranker": {"options": {"a": 1}}}, None, ("words", {"a": 1})),
    ],
)
def test_the_reranker_is_the_callers_then_the_collections_then_the_settings(
    library, script_reranker, scored_by, collection, named, expected
):
    library.host.plugins["other"] = script_reranker(scored_by(len))
    library.ledger.config = collection
    ask(library, reranker=named)
    assert library.host.asked == [expected]


def test_long_texts_and_queries_are_cut_to_what_the_reranker_takes(runtime, script_reranker, scored_by):
    runtime.add("lease " * 100)
    reranker = script_reranker(scored_by(len), max_doc_length=10, max_query_length=5)
    answer = ask(runtime, text="lease " * 50)
    assert len(reranker.slices[0][0].split()) == 10
    assert len(reranker.queries[0]) <= 25
    assert answer.warnings == [
        "words read the beginning of the query, about 5 tokens",
        "words read the beginnings of 1 of 1 passages, about 10 tokens each",
    ]
    script_reranker(scored_by(len))
    assert ask(runtime, text="lease " * 50).warnings == []


# -- what is refused, and what is not --------------------------------------------------------------------------------


def nested(times):
    """A filter in so many others."""
    filter = {"must": [{"key": "ordinal", "match": {"value": 0}}]}
    for _ in range(times):
        filter = {"must": [filter]}
    return filter


def test_a_filter_as_deep_as_it_may_be_is_met_with_all_that_a_search_adds(library):
    asked = {"principals": ["anna"], "filter": nested(30), "rerank": False}
    assert texts(ask(library, text='"lease expiry" -zebra', **asked)) == ["lease expiry of workers"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"text": ""}, "empty"),
        ({"text": " \n\t"}, "empty"),
        ({"text": "\x00"}, "empty"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"filter": []}, "filter"),
        ({"filter": "language=en"}, "filter"),
        ({"filter": nested(40)}, "levels"),
        ({"filter": nested(400)}, "levels"),
        ({"mode": "magic"}, "magic"),
        ({"fusion": "magic"}, "magic"),
        ({"dense_weight": 1.5}, "dense_weight"),
        ({"rerank_weight": math.nan}, "rerank_weight"),
        ({"rerank_deadline": -1}, "rerank_deadline"),
        ({"candidates": 0}, "candidates"),
        ({"collection": "nonsense"}, "nonsense"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(library, options, word):
    with pytest.raises(UsageError, match=word):
        ask(library, **options)


@pytest.mark.parametrize(
    "text",
    ["?!", "a\x00", "a" * 100_000, "lease " * 20_000, "\ud800 lone", "ﷺ" * 5000, "🦓", "../../etc", '{}[]:*^~\\"'],
)
@pytest.mark.parametrize("mode", ["hybrid", "sparse"])
def test_hostile_queries_are_answered(library, script_reranker, scored_by, text, mode):
    reranker = script_reranker(scored_by(len))
    answer = ask(library, text=text, mode=mode)
    json.dumps(answer.to_dict())
    assert all(len(query) <= MAX_QUERY_CHARACTERS for query in reranker.queries)
    cut = [warning for warning in answer.warnings if "read the beginning of the query" not in warning]
    assert bool(cut) == (len(text) > MAX_QUERY_CHARACTERS)
    for _, requests in library.store.calls:
        assert all(request.text is None or request.text.encode("utf-8") for request in requests)


def test_another_dimension_names_both(library):
    library.ledger.dimension = 384
    with pytest.raises(DimensionMismatch, match=r"26.*384"):
        ask(library)
    assert ask(library, mode="sparse", rerank=False).hits


def test_a_disabled_embedder_is_told(library):
    library._embedder = PluginNotFoundError("The embedding plugin 'letters' is disabled.")
    with pytest.raises(PluginNotFoundError, match="disabled"):
        ask(library)


# -- the answer as a value -------------------------------------------------------------------------------------------


def test_the_answer_has_the_promised_fields(runtime):
    runtime.add(
        "lease expiry", page=3, section=["A", "B"], path="/docs/a.md", media_type="text/markdown", language="en",
        entities={"DATE": ["today"]}, metadata={"author": "Ada", "language": "old"}, source="folder", signature="x",
    )  # fmt: skip
    answer = ask(runtime, rerank=False).to_dict()
    assert {"hits", "reranked", "timings_ms", "warnings"} <= set(answer)
    [hit] = answer["hits"]
    assert {"rank", "score", "document", "title", "text", "start", "end", "metadata", "scores"} <= set(hit)
    assert set(hit["scores"]) == {"dense", "sparse", "fused", "rerank"}
    assert (hit["document"], hit["title"], hit["start"], hit["end"]) == ("doc-1", "Title 1", 0, 12)
    assert hit["metadata"] == {
        "author": "Ada", "page": 3, "section": ["A", "B"], "path": "/docs/a.md", "media_type": "text/markdown",
        "language": "en", "entities": {"DATE": ["today"]}, "source": "folder", "ordinal": 0, "token_count": 2,
    }  # fmt: skip
    assert json.loads(json.dumps(answer)) == answer


def test_values_are_frozen(library):
    answer = ask(library, rerank=False)
    with pytest.raises(FrozenInstanceError):
        answer.reranked = True
    with pytest.raises(FrozenInstanceError):
        SearchQuery(text="a").limit = 3


class Comparing(RerankerPlugin):
    """Takes vectors, and keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.given = []

    @classmethod
    def get_capabilities(cls):
        return RerankerCapabilities(max_documents=2)

    async def rerank(self, query, documents, top_k=None, metadata=None, vectors=None, feedback_vectors=None):
        self.given.append((documents, vectors, feedback_vectors))
        return [RerankResult(index, 1.0) for index in range(len(documents))]


def test_a_reranker_that_compares_is_given_each_slices_vectors_and_those_of_the_two_best(library):
    comparing = library.host.plugins["words"] = Comparing()
    assert ask(library).reranked
    best = texts(ask(library, rerank=False))
    embedded = dict(zip(best, asyncio.run(LetterEmbedder().embed_texts(best)), strict=True))
    assert [len(documents) for documents, _, _ in comparing.given] == [2, 2, 1]
    for documents, vectors, feedback in comparing.given:
        assert vectors.dtype == feedback.dtype == np.float32
        assert vectors == pytest.approx(np.array([embedded[one] for one in documents]), abs=1e-6)
        assert feedback == pytest.approx(np.array([embedded[one] for one in best[:2]]), abs=1e-6)


def odd_vectors(library, monkeypatch, vectors):
    """Let the store give these vectors, by document's id, beside those that it has (times seven)."""
    scroll = library.store.scroll

    def scrolled(*args, **named):
        page, after = scroll(*args, **named)
        if not named.get("with_vectors"):
            return page, after
        odd = [vectors.get(UUID(point.id).int + 1, point.vector * 7) for point in page]
        return [replace(point, vector=vector) for point, vector in zip(page, odd, strict=True)], after

    monkeypatch.setattr(library.store, "scroll", scrolled)


def test_vectors_are_of_length_one_whatever_the_store_gives_and_zeros_where_it_gives_none(library, monkeypatch):
    comparing = library.host.plugins["words"] = Comparing()
    none, mixed = np.zeros(26, dtype=np.float32), np.ones(3, dtype=np.float32)
    odd_vectors(library, monkeypatch, {3: None, 4: none, 5: mixed})
    assert ask(library).reranked
    lengths = [float(np.linalg.norm(row)) for _, vectors, _ in comparing.given for row in vectors]
    assert sorted(lengths) == pytest.approx([0, 0, 0, 1, 1])


def test_feedback_is_of_the_best_that_have_a_vector(library, monkeypatch):
    comparing = library.host.plugins["words"] = Comparing()
    best = ask(library, rerank=False).hits[0].document
    odd_vectors(library, monkeypatch, {int(best.removeprefix("doc-")): None})
    assert ask(library).reranked
    first, second = (vectors for _, vectors, _ in comparing.given[:2])
    assert all(feedback == pytest.approx(np.array([first[1], second[0]])) for _, _, feedback in comparing.given)


def test_vectors_are_read_for_rerankers_that_take_them_alone_and_for_what_they_read(library, monkeypatch):
    asked, scroll = [], library.store.scroll

    def recorded(name, filter=None, *args, with_vectors=False, **named):
        asked.append(len(filter["must"][0]["has_id"]) if with_vectors else 0)
        return scroll(name, filter, *args, with_vectors=with_vectors, **named)

    monkeypatch.setattr(library.store, "scroll", recorded)
    ask(library)
    ask(library, rerank=False)
    assert asked == [0, 0]
    library.host.plugins["words"] = Comparing()
    assert ask(library, candidates=3).reranked
    assert asked[2:] == [0, 3], "once, whatever the number of slices"


def test_a_store_that_gives_no_vectors_leaves_the_fused_order_and_says_so(library, monkeypatch):
    library.host.plugins["words"] = RelevanceFeedbackReranker()
    odd_vectors(library, monkeypatch, dict.fromkeys(range(1, 6)))
    answer = ask(library)
    assert texts(answer) == texts(ask(library, rerank=False)) and not answer.reranked
    assert answer.warnings == [
        "reranked 0 of 5: words: The store returns no vectors, which are needed to compare passages."
    ]


def test_a_store_that_is_away_when_vectors_are_asked_for_leaves_the_fused_order(library, monkeypatch):
    library.host.plugins["words"] = RelevanceFeedbackReranker()
    scroll = library.store.scroll

    def scrolled(*args, with_vectors=False, **named):
        if with_vectors:
            raise ServiceUnavailable("The store does not answer.")
        return scroll(*args, **named)

    monkeypatch.setattr(library.store, "scroll", scrolled)
    answer = ask(library)
    assert answer.hits and answer.warnings == ["reranked 0 of 5: words: The store does not answer."]


def test_a_store_that_is_slow_with_vectors_holds_nobody_up(library, monkeypatch):
    library.host.plugins["words"] = RelevanceFeedbackReranker()
    scroll, go_on = library.store.scroll, threading.Event()

    def scrolled(*args, with_vectors=False, **named):
        if with_vectors:
            go_on.wait(20)
        return scroll(*args, **named)

    monkeypatch.setattr(library.store, "scroll", scrolled)
    assert ask(library, rerank_deadline=0.1).warnings == ["reranked 0 of 5: deadline"]
    go_on.set()


def test_a_slice_is_cancelled_at_the_deadline(library, script_reranker):
    ended = threading.Event()

    class Hanging(type(script_reranker(lambda query, documents: []))):
        async def rerank(self, query, documents, top_k=None, metadata=None):
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

    library.host.plugins["words"] = Hanging(None)
    assert ask(library, rerank_deadline=0.1).warnings == ["reranked 0 of 5: deadline"]
    assert ended.wait(20)


def test_an_index_that_lacks_points_is_told_until_it_has_them(runtime, monkeypatch):
    monkeypatch.setattr("semantik_pipeline.search.completeness.AGAIN", 0.0)
    runtime.add("lease expiry")
    runtime.ledger.at_rest = 2
    assert ask(runtime, rerank=False).warnings == [
        "the index of 'default' holds 1 of 2 points: `semantik verify --repair` restores the others"
    ]
    runtime.add("lease renewal")
    assert ask(runtime, rerank=False).warnings == []


# -- pages and thresholds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages_have_the_hits_of_the_whole_in_its_order(library, size):
    everything = ask(library, limit=10, rerank=False).hits
    assert len(everything) > 3
    pages = [ask(library, limit=size, offset=offset, rerank=False).hits for offset in range(0, 10, size)]
    assert [hit for page in pages for hit in page] == everything


@pytest.mark.parametrize("rerank", [True, False])
def test_hits_beyond_the_page_come_with_it(library, script_reranker, scored_by, rerank):
    script_reranker(scored_by(len))
    everything = ask(library, limit=10, rerank=rerank, reranker="words").hits
    assert len(everything) == 5
    for offset in range(5):
        found = ask(library, limit=1, offset=offset, beyond=2, rerank=rerank, reranker="words").hits
        assert found == everything[offset : offset + 3]
    with pytest.raises(UsageError, match="beyond"):
        ask(library, beyond=-1)


@pytest.mark.parametrize("mode", ["hybrid", "dense"])
def test_a_hit_beyond_the_page_makes_no_search_read_deep(runtime, mode):
    for number in range(260):
        runtime.add(f"lease {'word ' * (number % 50)}", document_id=number + 1)
    ranked = [hit.document for hit in ask(runtime, text="lease", limit=260, mode=mode, rerank=False).hits]
    runtime.store.calls.clear()
    found = ask(runtime, text="lease", limit=150, offset=50, beyond=1, mode=mode, rerank=False).hits
    assert [hit.document for hit in found] == ranked[50:201]
    assert max(request.limit for _, requests in runtime.store.calls for request in requests) <= 201


def test_no_page_lies_beyond_the_first_thousand_hits(library):
    assert ask(library, limit=1, offset=999).hits == []
    for offset in (-1, 1000):
        with pytest.raises(UsageError, match="first 1000"):
            ask(library, limit=1, offset=offset)


def test_hits_below_the_threshold_are_left_out(library):
    everything = ask(library, rerank=False).hits
    middle = everything[1].score
    assert everything[0].score > middle > everything[-1].score
    assert ask(library, rerank=False, score_threshold=middle).hits == everything[:2]
    assert ask(library, rerank=False, score_threshold=middle, offset=1).hits == everything[1:2]
    assert ask(library, rerank=False, score_threshold=1.1).hits == []
    with pytest.raises(UsageError, match="score_threshold"):
        ask(library, score_threshold=math.nan)


def test_hits_of_several_collections_are_merged_by_score(library):
    answer = ask(library, rerank=False)
    asked = whole(SearchQuery(text="x", offset=2, limit=3), "other")
    assert (asked.collection, asked.offset, asked.limit) == ("other", 0, 5)
    assert asked.reranked_for == 3, "as on the first page"
    page = merged(SeveralAnswers(answers={"a": answer, "b": answer}, together=[["a", "b"]]), offset=1, limit=3)
    assert [(one.collection, one.hit.rank, one.hit.text) for one in page] == [
        ("b", 2, answer.hits[0].text),
        ("a", 3, answer.hits[1].text),
        ("b", 4, answer.hits[1].text),
    ]
