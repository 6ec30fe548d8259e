"""Search by the API: one question or several, one collection or several, and only what the caller may see."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from semantik_pipeline import push
from semantik_pipeline.push import Given
from semantik_pipeline.search import SearchAnswer, SearchQuery, query_vector, search
from semantik_pipeline.search.facets import MOST_VALUES
from tests.integration.api.conftest import Api, problem
from tests.integration.conftest import FAKE_COLLECTION
from workers import remote_search
from workers.remote_search import Searching

TEXTS = {
    "a": "zebras graze in herds",
    "b": "zebras sleep on their feet",
    "c": "otters swim, zebras do not",
    "d": "owls hunt at night",
}


SENSELESS: list[dict[str, Any]] = [
    {},
    {"query": " "},
    {"query": "x", "top_k": 0},
    {"query": "x", "top_k": 500, "offset": 501},
    {"query": "x", "search_mode": "magic"},
    {"query": "x", "filter": {"must": "nonsense"}},
    {"query": "x", "collection": "default", "collections": ["default"]},
    {"query": "x", "collections": []},
    {"query": "x", "score_threshold": 2},
    {"query": "x", "fusion": "magic"},
    {"query": "x", "dense_weight": 1.5},
    {"query": "x", "rerank_weight": -0.1},
    {"query": "x", "colour": 1},
    {"query": "x", "facets": ["no key"]},
    {"query": "x", "facets": [f"k{number}" for number in range(17)]},
    {"query": "x", "facets": ["a\x00"]},
    {"query": "x", "facet_limit": 0},
    {"query": "x", "explain_document": "a\x00"},
    {"query": "\x00"},
    {"query": "x", "explain_document": "a", "collections": ["default", "more"]},
    {"query": "x", "reranker_id": []},
    {"query": "x", "reranker_id": ["fake-reranker", "fake-reranker"]},
    {"query": "x", "reranker_id": [f"r{number}" for number in range(5)]},
]


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    made = make_api(search={"reranker": "fake-reranker"})
    give(made, "default", TEXTS)
    return made


def give(api: Api, collection: str, texts: dict[str, str], **about: Any) -> None:
    api.runtime.collection(collection, FAKE_COLLECTION)
    documents = [Given(unique_id=name, content=text, **about) for name, text in texts.items()]
    push.push(api.runtime, documents, collection=collection)
    api.pipeline.run()


def ask(api: Api, query: str = "zebras", *, by: str = "reader", **more: Any) -> dict[str, Any]:
    return api.good(api.post("/search", json={"query": query, **more}, by=by))


def names(found: dict[str, Any]) -> list[str]:
    return [hit["document"] for hit in found["hits"]]


def test_a_question_is_answered_with_scores_and_times(api: Api) -> None:
    found = ask(api, "zebras sleep", top_k=3)
    first = found["hits"][0]
    assert (first["document"], first["collection"], first["rank"]) == ("b", "default", 1)
    assert first["text"] == TEXTS["b"] and first["rerank_score"] == first["scores"]["rerank"] is not None
    assert found["reranked"] is True and {"embed", "retrieve", "rerank", "total"} <= set(found["timings_ms"])
    assert found["warnings"] == []
    plain = ask(api, "zebras sleep", use_reranker=False, search_mode="sparse")
    assert plain["reranked"] is False and plain["hits"][0]["rerank_score"] is None
    assert plain["hits"][0]["scores"]["dense"] is None


def test_the_reranker_reads_as_many_as_it_is_told(api: Api) -> None:
    found = ask(api, rerank_top_k=2, search_mode="sparse", reranker_id="fake-reranker")
    assert sum(hit["rerank_score"] is not None for hit in found["hits"]) == 2
    assert len(found["hits"]) == 3


def test_how_legs_and_reranker_are_joined_can_be_said(api: Api) -> None:
    def fused(**more: Any) -> dict[str, float]:
        return {hit["document"]: hit["score"] for hit in ask(api, "zebras sleep", use_reranker=False, **more)["hits"]}

    assert fused(dense_weight=0.0) == fused(search_mode="sparse") | {"d": 0.0}
    assert fused(dense_weight=1.0) == fused(search_mode="dense")
    assert len({tuple(fused(fusion=one).values()) for one in ("minmax", "rrf", "dbsf")}) == 3
    read = ask(api, "zebras sleep", rerank_weight=0.0)["hits"]
    assert {hit["document"]: hit["score"] for hit in read} == fused()


def test_rerankers_in_a_row_are_told_of_each(api: Api) -> None:
    found = ask(api, "zebras sleep", reranker_id=["fake-reranker"], rerank_top_k=2)
    [did] = found["rerankers"]
    assert did.pop("duration_ms") >= 0
    assert did == {"collection": "default", "id": "fake-reranker", "scored": 2, "candidates": 2, "reason": None}
    problem(api.post("/search", json={"query": "x", "reranker_id": ["fake-reranker", "nobody"]}), 404)
    give(api, "more", {"x": "zebras drink"})
    both = ask(api, "zebras", collections=["default", "more"], reranker_id=["fake-reranker"])
    assert [one["collection"] for one in both["rerankers"]] == ["default", "more"]


def test_pages_have_the_hits_of_the_whole_in_its_order(api: Api) -> None:
    everything = ask(api, use_reranker=False)
    assert everything["next_offset"] is None
    hits, offset = [], 0
    while offset is not None:
        page = ask(api, use_reranker=False, top_k=2, offset=offset)
        hits += page["hits"]
        offset = page["next_offset"]
    assert hits == everything["hits"] and len(hits) == 4
    assert ask(api, top_k=1, offset=999)["hits"] == []


def test_pages_agree_beyond_the_depth_of_a_leg(api: Api) -> None:
    give(api, "default", {f"n{number:03}": "zebras " * (number % 17 + 1) + f"n{number}" for number in range(320)})
    for more in ({"use_reranker": False}, {"rerank_top_k": 20}):
        pages = [ask(api, top_k=120, offset=offset, **more) for offset in (0, 120, 240)]
        hits = [hit for page in pages for hit in page["hits"]]
        assert len({hit["document"] for hit in hits}) == len(hits) == 324
        assert [hit["rank"] for hit in hits] == list(range(1, 325))
        scores = [hit["score"] for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert names(ask(api, top_k=324, **more)) == [hit["document"] for hit in hits]


def test_weak_hits_and_those_that_pass_no_filter_are_left_out(api: Api) -> None:
    everything = ask(api, use_reranker=False)["hits"]
    least = everything[1]["score"]
    assert [hit["score"] >= least for hit in ask(api, use_reranker=False, score_threshold=least)["hits"]] == [
        True,
        True,
    ]
    only = {"must": [{"key": "document", "match": {"value": "c"}}]}
    assert names(ask(api, filter=only)) == ["c"]


def test_an_answer_counts_and_explains_and_says_why_not(api: Api) -> None:
    found = ask(api, "zebras sleep", top_k=2, facets=["source_type", "document"], explain=True, explain_document="d")
    assert found["facets"]["source_type"] == [{"value": "push", "count": 4}]
    assert [one["value"] for one in found["facets"]["document"]] == ["a", "b", "c", "d"]
    for hit in found["hits"]:
        assert sum(part["value"] for part in hit["explanation"]["contributions"]) == pytest.approx(hit["score"])
        assert hit["explanation"]["rerankers"][0]["score"] == hit["rerank_score"]
    assert found["document_explanation"]["document"] == "d" and found["document_explanation"]["cause"] in (
        "limit",
        "reranked",
    )
    assert found["document_explanation"]["details"]["rank"] == 4
    plain = ask(api)
    assert (plain["facets"], plain["document_explanation"]) == ({}, None)
    assert all(hit["explanation"] is None for hit in plain["hits"])


def test_the_hit_behind_the_page_is_not_among_the_hits(api: Api) -> None:
    """It is asked for beside the page, to know whether there is another page."""
    for more in ({"use_reranker": False}, {}):
        names_ = names(ask(api, **more))
        for top_k in (1, 2, 3):
            for place, name in enumerate(names_, 1):
                told = ask(api, top_k=top_k, explain_document=name, **more)["document_explanation"]
                rank = {"ranks": [place]} if place <= top_k else {"rank": place}
                assert rank.items() <= told["details"].items()
                assert (told["cause"] == "shown") == (place <= top_k)
                query = SearchQuery(
                    text="zebras", limit=top_k, explain_document=name, rerank=more.get("use_reranker", True)
                )
                here = search(api.runtime, query).document_explanation
                assert here == {"document": name, "cause": told["cause"], "message": told["message"], **told["details"]}


def test_counts_of_several_collections_are_added_up(api: Api) -> None:
    give(api, "more", {"a": "zebras", "z": "zebras"}, metadata={"team": "x"})
    give(api, "third", {"q": "zebras"}, metadata={"team": "y"})
    found = ask(api, collections=["default", "more", "third"], facets=["metadata.team", "source_type"], facet_limit=1)
    assert found["facets"]["metadata.team"] == [{"value": "x", "count": 2}]
    assert found["facets"]["source_type"] == [{"value": "push", "count": 7}]


def test_a_value_that_is_rare_in_a_collection_counts_there_too(api: Api) -> None:
    """However many others come before it: they are cut when all are added up."""
    more = [f"{number:04}" for number in range(MOST_VALUES + 100)]
    give(api, "more", {"a": "zebras", "z": "zebras"}, metadata={"tags": ["solar"]})
    give(api, "third", {"q": "zebras"}, metadata={"tags": [*more, "solar"]})
    query = SearchQuery(text="zebras", facets=("metadata.tags",), facet_limit=2, rerank=False)
    found = ask(api, collections=["more", "third"], facets=["metadata.tags"], facet_limit=2)["facets"]
    assert found["metadata.tags"] == [{"value": "solar", "count": 3}, {"value": "0000", "count": 1}]
    sent = json.loads(json.dumps({"query": vars(query), "among": ["more", "third"]}))
    reply = remote_search.answered(api.runtime, sent)
    assert reply["facets"] == found, "a worker adds them up, and sends no more than is told"
    assert [len(one["facets"]["metadata.tags"]) for one in reply["answers"].values()] == [1, 2]


def test_search_workers_are_asked_the_same(api: Api) -> None:
    """A question and its answer go through JSON, and come out as they were."""
    asked = SearchQuery(
        text="zebras", facets=("document",), facet_limit=2, explain=True, explain_document="d", limit=2,
        principals={"anna"}, reranker=("fake-reranker",),
    )  # fmt: skip
    sent = json.loads(json.dumps(asdict(asked)))
    assert SearchQuery(**sent) == asked
    reply = json.loads(json.dumps(remote_search.answered(api.runtime, sent)))
    answer, here = remote_search._answer(reply), search(api.runtime, asked)
    assert (answer.facets, answer.document_explanation) == (here.facets, here.document_explanation)
    assert [hit.explanation for hit in answer.hits] == [hit.explanation for hit in here.hits]


def test_several_collections_are_asked_at_once(api: Api) -> None:
    give(api, "more", {"e": "zebras cross rivers", "a": "zebras graze in herds"})
    found = ask(api, collections=["default", "more", "default"], use_reranker=False)
    assert {(hit["collection"], hit["document"]) for hit in found["hits"]} >= {
        ("default", "a"),
        ("more", "e"),
        ("more", "a"),
    }
    assert [hit["rank"] for hit in found["hits"]] == list(range(1, len(found["hits"]) + 1))
    scores = [hit["score"] for hit in found["hits"]]
    assert scores == sorted(scores, reverse=True) and len(scores) == 6
    pages = [ask(api, collections=["default", "more"], use_reranker=False, top_k=4, offset=at) for at in (0, 4)]
    assert [hit for page in pages for hit in page["hits"]] == found["hits"]
    assert [page["next_offset"] for page in pages] == [4, None]
    warned = ask(api, collections=["default", "more"], query="zebras " * 2000, use_reranker=False)["warnings"]
    assert [warning.partition(":")[0] for warning in warned] == ["default", "more"]


def test_a_batch_is_answered_in_its_order(api: Api) -> None:
    body = {"searches": [{"query": "owls", "top_k": 1}, {"query": "otters", "top_k": 1}]}
    found = api.good(api.post("/search/batch", json=body, by="reader"))
    assert [names(answer) for answer in found["results"]] == [["d"], ["c"]]
    body["searches"].append({"query": "x", "collection": "nowhere"})
    problem(api.post("/search/batch", json=body), 404)
    problem(api.post("/search/batch", json={"searches": [{"query": "x"}] * 33}), 422)


@pytest.mark.parametrize("execution", ["local", "workers"])
def test_if_one_of_a_batch_is_invalid_none_is_run(
    make_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch, execution: str
) -> None:
    api = make_api(search={"execution": execution, "reranker": "fake-reranker"})
    api.runtime.collection("default", FAKE_COLLECTION)
    asked: list[str] = []

    def answer(self: Searching, query: SearchQuery) -> SearchAnswer:
        asked.append(query.text)
        return SearchAnswer(hits=[])

    monkeypatch.setattr(Searching, "__call__", answer)
    senseless: list[tuple[int, dict[str, Any]]] = [
        (422, {"filter": {"must": "nonsense"}}),
        (422, {"query": "zebras", "facet_limit": 10, "facets": ["no key"]}),
        (404, {"collection": "nowhere"}),
        (422, {"postprocessors": [{"plugin": "group", "options": {"k": "many"}}]}),
    ]
    for status, wrong in senseless:
        body = {"searches": [{"query": "owls"}, {"query": "otters", **wrong}]}
        problem(api.post("/search/batch", json=body), status)
    assert asked == []
    unknown = api.post("/search/batch", json={"searches": [{"query": "owls"}, {"query": "x", "reranker_id": "theirs"}]})
    if execution == "local":
        problem(unknown, 404)
        assert asked == []
    else:  # workers may have plugins that the API's process lacks
        api.good(unknown)
        assert sorted(asked) == ["owls", "x"]


def test_a_batch_is_embedded_in_one_pass_for_each_collection(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    give(api, "more", {"e": "zebras cross rivers"})
    passes: list[int] = []
    embedded = query_vector._Dense.embedded

    def counting(model: Any, texts: list[str]) -> Any:
        passes.append(len(texts))
        return embedded(model, texts)

    monkeypatch.setattr(query_vector._Dense, "embedded", counting)
    searches = [{"query": f"owls {n}", "collections": ["default", "more"]} for n in range(20)]
    searches += [{"query": "owls", "search_mode": "sparse"}, {"query": "source_type", "search_mode": "dense"}]
    found = api.good(api.post("/search/batch", json={"searches": searches}))["results"]
    assert passes == [21, 20] and len(found) == 22
    alone = ask(api, "owls 3", collections=["default", "more"])
    assert alone["hits"] == found[3]["hits"] and passes == [21, 20]


def test_what_one_request_may_cost_is_bounded(api: Api) -> None:
    many = [f"c{number}" for number in range(16)]
    said = problem(api.post("/search/batch", json={"searches": [{"query": "x", "collections": many}] * 5}), 422)
    assert "80 searches" in said["detail"]
    problem(api.post("/search", json={"query": "x", "collections": many, "rerank_top_k": 1000}), 422)
    said = problem(api.post("/search/batch", json={"searches": [{"query": "x", "rerank_top_k": 500}] * 9}), 422)
    assert "4500 passages" in said["detail"]


def test_a_question_counts_once_for_each_collection(make_api: Callable[..., Api]) -> None:
    api = make_api(api={"rate": "6/day"}, search={"reranker": "fake-reranker"})
    give(api, "default", TEXTS)
    batch = {"searches": [{"query": "owls"}] * 4}
    api.good(api.post("/search/batch", json=batch, by="reader"))
    problem(api.post("/search/batch", json=batch, by="reader"), 429)
    api.good(api.post("/search/batch", json={"searches": [{"query": "owls"}] * 32}, by="writer"))  # all there is
    problem(api.get("/fleet", by="writer"), 429)


def test_a_question_that_makes_no_sense_is_refused(api: Api) -> None:
    for body in SENSELESS:
        problem(api.post("/search", json=body), 422)


def test_what_is_named_must_be_there(api: Api) -> None:
    problem(api.post("/search", json={"query": "x", "collection": "nowhere"}), 404)
    problem(api.post("/search", json={"query": "x", "reranker_id": "nobody"}), 404)


def test_whoever_has_some_collections_searches_no_others(api: Api) -> None:
    anna = api.key("anna", role="reader", collections=["more"])
    problem(api.post("/search", json={"query": "x"}, by=anna), 403)
    problem(api.post("/search", json={"query": "x", "collections": ["more", "default"]}, by=anna), 403)
    problem(api.post("/search/batch", json={"searches": [{"query": "x"}]}, by=anna), 403)


def test_whoever_sees_some_documents_finds_no_others(api: Api) -> None:
    give(api, "default", {"ours": "zebras in our zoo"}, principals=["hr", "ops"])
    give(api, "default", {"theirs": "zebras in their zoo"}, principals=["it"])
    anna = api.key("anna", role="reader", principals=["hr"])
    assert set(names(ask(api))) == {*TEXTS, "ours", "theirs"}
    for more in (
        {},
        {"search_mode": "sparse"},
        {"filter": {"should": [{"key": "text", "match": {"text": "zoo"}}]}},
    ):
        assert "theirs" not in names(ask(api, by=anna, **more))
    assert set(names(ask(api, by=anna))) == {*TEXTS, "ours"}
    batch = api.good(api.post("/search/batch", json={"searches": [{"query": "zebras"}]}, by=anna))
    assert set(names(batch["results"][0])) == {*TEXTS, "ours"}


def test_a_search_is_left_to_workers_where_the_settings_say_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[SearchQuery] = []

    def answer(self: Searching, query: SearchQuery) -> SearchAnswer:
        asked.append(query)
        return SearchAnswer(hits=[])

    monkeypatch.setattr(Searching, "__call__", answer)
    assert ask(api, "zebras", top_k=7, offset=3)["hits"] == []
    assert [(query.text, query.limit, query.offset, query.beyond) for query in asked] == [("zebras", 7, 3, 1)]
