"""Several collections asked one question: side by side, with scores that mean the same, and one list of pages."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from semantik_pipeline import push
from semantik_pipeline.push import Given
from semantik_pipeline.search import SearchQuery, several
from semantik_pipeline.search.several import merged, search_several
from tests.integration.api.conftest import Api
from tests.integration.conftest import FAKE_COLLECTION
from workers import remote_search

ABOUT = {
    "a": "zebras graze in herds across their plain",
    "b": "zebras sleep standing, plain or hill",
    "c": "zebras cross rivers in May; a plain sight",
}
NOTHING = {
    "x": "invoices are due soon",
    "y": "tax forms have nine pages",
    "z": "printers want paper",
}


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    made = make_api(search={"reranker": "fake-reranker"})
    give(made, "nothing", NOTHING)
    give(made, "about", ABOUT)
    return made


def give(api: Api, collection: str, texts: dict[str, str], **config: Any) -> None:
    api.runtime.collection(collection, {**FAKE_COLLECTION, **config})
    given = [Given(unique_id=name, content=text) for name, text in texts.items()]
    push.push(api.runtime, given, collection=collection)
    api.pipeline.run()


def ask(api: Api, **more: Any) -> dict[str, Any]:
    body = {"query": "zebras plain", "collections": ["nothing", "about"], **more}
    return api.good(api.post("/search", json=body, by="reader"))


@pytest.mark.parametrize("fusion", ["minmax", "dbsf"])
@pytest.mark.parametrize("more", [{"use_reranker": False}, {}, {"search_mode": "dense"}, {"search_mode": "sparse"}])
def test_a_collection_that_knows_nothing_of_it_has_no_good_hits(api: Api, more: dict[str, Any], fusion: str) -> None:
    hits = ask(api, fusion=fusion, **more)["hits"]
    assert [hit["collection"] for hit in hits[:3]] == ["about"] * 3
    if fusion == "minmax":
        assert all(hit["score"] < hits[0]["score"] / 2 for hit in hits[3:])


@pytest.mark.parametrize("fusion", ["minmax", "dbsf", "rrf"])
@pytest.mark.parametrize("rerank", [True, False])
def test_the_parts_of_a_score_add_up_to_it(api: Api, rerank: bool, fusion: str) -> None:
    hits = ask(api, explain=True, use_reranker=rerank, fusion=fusion, rerank_top_k=2)["hits"]
    assert len(hits) == 6
    for hit in hits:
        assert sum(part["value"] for part in hit["explanation"]["contributions"]) == pytest.approx(hit["score"])


def test_they_are_asked_side_by_side_and_reranked_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    together, gather = threading.Barrier(2, timeout=10), several.OneSearch.gather

    def gathering(one: Any) -> None:
        together.wait()  # neither waits for the other's answer
        gather(one)

    monkeypatch.setattr(several.OneSearch, "gather", gathering)
    found = ask(api, rerank_top_k=4)
    told = {one["collection"]: (one["scored"], one["candidates"]) for one in found["rerankers"]}
    assert told == {"nothing": (1, 1), "about": (3, 3)}, "the best four of both, within one deadline"
    assert sum(hit["rerank_score"] is not None for hit in found["hits"]) == 4
    none = ask(api, rerank_top_k=3, explain=True)
    assert [(one["scored"], one["candidates"]) for one in none["rerankers"]] == [(0, 0), (3, 3)]
    for hit in none["hits"]:  # the word of the reranker is in all scores, also where it read none
        assert sum(part["value"] for part in hit["explanation"]["contributions"]) == pytest.approx(hit["score"])


@pytest.mark.parametrize("rerank", [True, False])
def test_pages_are_cut_from_one_list(api: Api, rerank: bool) -> None:
    every = ask(api, use_reranker=rerank, rerank_top_k=4)["hits"]
    pages = [ask(api, use_reranker=rerank, rerank_top_k=4, top_k=2, offset=at)["hits"] for at in (0, 2, 4)]
    assert [hit for page in pages for hit in page] == every and len(every) == 6


@pytest.mark.parametrize("fusion", ["minmax", "dbsf", "rrf"])
@pytest.mark.parametrize("more", [{"use_reranker": False}, {"rerank_top_k": 3}])
def test_the_best_of_all_are_on_the_first_page(api: Api, more: dict[str, Any], fusion: str) -> None:
    """A collection's own scores would choose others of it: its legs have other ends than those of all."""
    draw = random.Random(0)
    words = ["zebras", "plain", "herds", "tax", "forms", "due", "hill", "river"]
    few = {f"n{n:02}": " ".join(draw.choices(words[:3], k=2 + n % 9)) for n in range(40)}
    many = {f"n{n:02}": " ".join(["zebras", *draw.choices(words[2:], k=1 + n % 2)]) for n in range(40)}
    give(api, "few", few)
    give(api, "many", many)
    more = {**more, "collections": ["few", "many"], "fusion": fusion, "explain": True}
    every = ask(api, top_k=100, **more)["hits"]
    assert len(every) == 80
    pages = [ask(api, top_k=3, offset=at, **more) for at in range(0, 80, 3)]
    assert [hit for page in pages for hit in page["hits"]] == every
    assert [page["next_offset"] for page in pages] == [*range(3, 80, 3), None]
    for hit in every:
        assert sum(part["value"] for part in hit["explanation"]["contributions"]) == pytest.approx(hit["score"])


def test_payloads_are_read_of_what_may_be_shown_alone(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for collection, word in (("few", "plain"), ("many", "hill")):
        give(api, collection, {f"n{n:02}": f"zebras {word * n} {n}" for n in range(40)})
    read: list[str] = []
    scroll = api.runtime.store.scroll

    def counting(name: str, **asked: Any) -> Any:
        page, after = scroll(name, **asked)
        read.extend(point.id for point in page if "fields" not in asked)
        return page, after

    monkeypatch.setattr(api.runtime.store, "scroll", counting)
    asked = {"collections": ["few", "many"], "top_k": 3, "use_reranker": False, "interpret": False}
    assert len(ask(api, **asked)["hits"]) == 3
    assert len(read) == len(set(read)) <= 16, "at most four of each by its own scores, and four by those of all"


def test_scores_that_mean_other_things_are_not_compared(api: Api) -> None:
    give(api, "own", ABOUT, search={"dense_weight": 0.1})
    hits = ask(api, collections=["nothing", "own"])["hits"]
    assert [hit["collection"] for hit in hits] == ["nothing", "own"] * 3


def test_listed_documents_of_all_are_there(api: Api) -> None:
    hits = ask(api, query="source_type:push -source:nowhere", use_reranker=False)["hits"]
    assert {hit["collection"] for hit in hits} == {"nothing", "about"}
    listed = ask(api, query="-source:nowhere")["hits"]
    assert {hit["score"] for hit in listed} == {1.0} and len(listed) == 6


def test_one_worker_answers_for_all(api: Api) -> None:
    query = SearchQuery(text="zebras plain", explain=True)
    among = ["nothing", "about"]
    sent = json.loads(json.dumps({"query": vars(query), "among": among}))
    reply = json.loads(json.dumps(remote_search.answered(api.runtime, sent)))
    there = {name: remote_search._rebuilt_answer(answer) for name, answer in reply["answers"].items()}
    here = search_several(api.runtime, query, among)
    assert reply["together"] == here.together == [among]
    assert {name: answer.hits for name, answer in there.items()} == {
        name: answer.hits for name, answer in here.answers.items()
    }
    assert merged(here, offset=0, limit=1)[0].collection == "about"
    assert remote_search.answered(api.runtime, {**sent, "among": ["nowhere"]})["error"]["there"] is not None


def test_why_a_reranker_read_nothing_is_told_of_each(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, config: dict[str, Any] | None = None) -> None:
        raise OSError("no weights here")

    monkeypatch.setattr("semantik_pipeline.testing.FakeReranker.__init__", broken)
    told = {one["collection"]: one for one in ask(api)["rerankers"]}
    assert set(told) == {"nothing", "about"}
    for one in told.values():
        assert one["scored"] == 0 and "no weights here" in one["reason"]
