"""Postprocessors by the API: what they add is in the answer, and whom they answer to is not for a reader to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from semantik_pipeline import push
from semantik_pipeline.push import Given
from tests.integration.api.conftest import Api
from tests.integration.conftest import FAKE_COLLECTION

TEXTS = {"a": "zebras graze in herds", "b": "zebras sleep", "c": "zebras sleep", "d": "owls hunt at night"}


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    made = make_api(search={"reranker": "fake-reranker", "postprocess_deadline": 30})
    for collection in ("default", "more"):
        made.runtime.collection(collection, FAKE_COLLECTION)
        push.push(made.runtime, [Given(unique_id=n, content=t) for n, t in TEXTS.items()], collection=collection)
    made.pipeline.run()
    return made


def ask(api: Api, query: str = "zebra", by: str = "reader", **asked: Any) -> dict[str, Any]:
    return api.good(api.post("/search", json={"query": query, **asked}, by=by))


def test_highlights_are_there_unless_nothing_is_asked_for(api: Api) -> None:
    hit = ask(api, "grazing zebra")["hits"][0]
    assert [(hit["text"][one["start"] : one["end"]], one["term"]) for one in hit["highlights"]] == [
        ("zebras", "zebra"),
        ("graze", "grazing"),
    ]
    assert hit["passage"] == {"start": 0, "end": len(hit["text"])}
    bare = ask(api, "grazing zebra", postprocessors=[])["hits"][0]
    assert (bare["highlights"], bare["passage"], bare["grouped_hits"], bare["duplicates"]) == ([], None, [], [])


def test_a_chain_with_options(api: Api) -> None:
    hits = ask(api, postprocessors=["dedupe", {"plugin": "group", "options": {"k": 2}}, "highlight"])["hits"]
    assert sum(hit["document"] in ("b", "c") for hit in hits) == 1
    [twin] = [hit for hit in hits if hit["duplicates"]]
    assert {twin["document"], *twin["duplicates"]} == {"b", "c"}


def test_several_collections_each_have_theirs(api: Api) -> None:
    answer = ask(api, collections=["default", "more"], postprocessors=["dedupe"], top_k=3)
    assert answer["next_offset"] == 3
    rest = ask(api, collections=["default", "more"], postprocessors=["dedupe"], top_k=3, offset=3)
    found = [(hit["collection"], hit["document"]) for page in (answer, rest) for hit in page["hits"]]
    assert len(found) == len(set(found)) == 6
    assert [hit["rank"] for page in (answer, rest) for hit in page["hits"]] == list(range(1, 7))
    told = "default: dedupe processed each collection separately, and did not compare hits across collections"
    assert answer["warnings"] == rest["warnings"] == [told]


def test_what_is_the_same_for_each_collection_alone_is_not_told(api: Api) -> None:
    assert ask(api, collections=["default", "more"], postprocessors=["group", "highlight"])["warnings"] == []
    assert ask(api, collections=["default"], postprocessors=["dedupe"])["warnings"] == []
    api.runtime.collection("empty", FAKE_COLLECTION)
    assert ask(api, collections=["default", "empty"], postprocessors=["dedupe"])["warnings"] == []
    api.runtime.collection("own", {**FAKE_COLLECTION, "search": {"postprocessors": ["dedupe"]}})
    push.push(api.runtime, [Given(unique_id=n, content=t) for n, t in TEXTS.items()], collection="own")
    api.pipeline.run()
    assert ask(api, collections=["default", "own"])["warnings"] == [], "only one of them has it"


REFUSED: list[tuple[Any, int]] = [
    (["nowhere"], 404),
    ([""], 422),
    (["highlight"] * 9, 422),
    ([{"plugin": "group", "options": {"k": 0}}], 422),
    ([{"plugin": "group", "options": {"depth": 1}}], 422),
    ([{"plugin": "fake-postprocessor", "options": {"seconds": 3}}], 422),
    ([{"plugin": "group", "colour": 1}], 422),
    ([{"plugin": "group", "options": {"key_env": "HOME"}}], 403),
    ([{"plugin": "group", "options": {"k": "http://127.0.0.1/"}}], 403),
    ([{"plugin": "group", "options": {"k_env": "SEMANTIK_DATABASE_URL"}}], 403),
    ("highlight", 422),
]


def test_what_a_reader_may_not_ask_for(api: Api) -> None:
    for wrong, status in REFUSED:
        asked = {"query": "zebra", "postprocessors": wrong}
        answer = api.post("/search", json=asked, by="reader")
        assert answer.status_code == status, (wrong, answer.text)
        batch = api.post("/search/batch", json={"searches": [asked]}, by="reader")
        assert batch.status_code == status, (wrong, batch.text)


def test_they_are_plugins_like_all_others(api: Api) -> None:
    found = api.good(api.get("/plugins?type=postprocessor", by="admin"))["plugins"]
    assert {"highlight", "group", "diversity", "neighbours", "dedupe"} <= {one["id"] for one in found}
    shown = api.good(api.get("/plugins/group", by="admin"))
    assert (shown["type"], shown["enabled"]) == ("postprocessor", True)
    api.good(api.put("/plugins/group/config", json={"config": {"k": 2}}, by="admin"))
