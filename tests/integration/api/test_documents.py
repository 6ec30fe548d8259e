"""Documents by the API: given, listed, shown, read, retried, deleted, restored."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from semantik_pipeline.api.routes import documents as routes
from semantik_pipeline.documents import content_hash
from semantik_pipeline.ledger.tables import sources
from semantik_pipeline.operations import SourceRequest
from tests.integration.api.conftest import Api, problem
from tests.integration.conftest import FAKE_COLLECTION

LEDGERS = ("sqlite", "postgres")

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    made = make_api(plugins={"fake-embedder": {"fail_on": "POISON"}}, retention={"trash_days": 7})
    made.runtime.collection("default", FAKE_COLLECTION)
    return made


def new(name: str, text: str, **about: Any) -> dict[str, Any]:
    return {"document": name, "text": text, **about}


def push(api: Api, *documents: dict[str, Any], run: bool = True, **more: Any) -> dict[str, Any]:
    found = api.post("/documents", json={"documents": list(documents), **more}, by="writer")
    answer = api.good(found, 202)
    assert found.headers["location"] == f"/api/v2/operations/{answer['id']}"
    if run:
        api.pipeline.run()
    return answer


def listed(api: Api, query: str = "", **options: Any) -> list[str]:
    return [row["document"] for row in api.good(api.get(f"/documents{query}", **options))["documents"]]


def test_texts_are_given_found_and_shown(api: Api) -> None:
    answer = push(api, new("a", "zebras graze", title="Zebras", metadata={"team": "x"}), new("b", "POISON"))
    assert [one["outcome"] for one in answer["documents"]] == ["new", "new"]
    operation = api.good(api.get(f"/operations/{answer['operation']}"))
    assert (operation["state"], operation["outcome"], operation["unfinished"]["quarantined"]) == (
        "finished",
        "degraded",
        1,
    )
    counted = operation["result"]["documents"]
    assert (counted["seen"], counted["new"], counted["quarantined"]) == (2, 2, 1)
    ids = {one["document"]: one["id"] for one in answer["documents"]}
    shown = api.good(api.get(f"/documents/{ids['a']}", by="reader"))
    assert (shown["status"], shown["title"], shown["metadata"]["team"]) == ("indexed", "Zebras", "x")
    assert shown["generations"][0]["stages"]["upsert"] == "done"
    bad = api.good(api.get(f"/documents/{ids['b']}"))
    assert (bad["status"], bad["generations"][0]["error"]["stage"]) == ("quarantined", "embed")
    assert bad["reason"].startswith("embed: ")


def test_documents_are_listed_in_pages_and_by_what_they_are(api: Api) -> None:
    push(
        api,
        *(new(f"d{number}", f"text {number}") for number in range(5)),
        new("notes.MD", "# n", media_type="text/markdown"),
    )
    everything = listed(api)
    assert sorted(everything) == ["d0", "d1", "d2", "d3", "d4", "notes.MD"]
    pages, cursor = [], ""
    while cursor is not None:
        found = api.good(api.get(f"/documents?limit=2{cursor and f'&cursor={cursor}'}"))
        pages.append([row["document"] for row in found["documents"]])
        cursor = found["next_cursor"]
    assert [len(page) for page in pages] == [2, 2, 2]
    assert [name for page in pages for name in page] == everything
    assert listed(api, "?name=OTES.m") == listed(api, "?media_type=text/markdown") == ["notes.MD"]
    assert listed(api, "?document=d3&collection=default") == ["d3"]
    assert listed(api, "?status=indexed&source=1") == everything
    assert listed(api, "?status=quarantined") == listed(api, "?source=99") == listed(api, "?name=d_") == []
    for odd in ("status=lost", "name=%00", "document=%00", "collection=%00", "media_type=%00", f"source={2**63}"):
        problem(api.get(f"/documents?{odd}"), 422)
    problem(api.get("/documents?cursor=xyz"), 422)


def test_documents_that_their_source_could_not_read_are_listed(api: Api) -> None:
    texts = {"a": "an apple", "b": "a bean"}
    for options in ({}, {"documents": {**texts, "b": "new"}, "fail_fetch": {"b": "unreadable"}}):
        api.pipeline.index(
            SourceRequest(connector="fake-connector", name="fake", config={"documents": texts, **options})
        )
    assert listed(api, "?status=unread") == ["b"] and listed(api, "?status=indexed") == ["a", "b"]
    (row,) = api.good(api.get("/documents?status=unread", by="reader"))["documents"]
    assert (row["status"], row["reason"]) == ("indexed", "could not be read; its indexed content is kept")
    assert api.good(api.get(f"/documents/{row['id']}"))["reason"] == row["reason"]


def test_content_text_and_chunks_are_read(api: Api) -> None:
    text = "\n\n".join(f"# Part {number}\n\n" + f"word{number} " * 30 for number in range(4))
    answer = push(api, new("long", text, media_type="text/markdown"))
    path = f"/documents/{answer['documents'][0]['id']}"
    raw = api.get(f"{path}/content", by="reader")
    assert raw.text == text
    assert raw.headers["content-type"].startswith("text/markdown")
    assert raw.headers["content-disposition"].startswith("attachment")
    parsed = api.good(api.get(f"{path}/text"))
    assert "word3" in parsed["text"] and {one["kind"] for one in parsed["elements"]} >= {"heading"}
    first = api.good(api.get(f"{path}/chunks?limit=2"))
    rest = api.good(api.get(f"{path}/chunks?limit=500&cursor={first['next_cursor']}"))
    chunks = [*first["chunks"], *rest["chunks"]]
    assert len(chunks) > 3 and rest["next_cursor"] is None
    assert [one["ordinal"] for one in chunks] == list(range(len(chunks)))
    assert all(one["embedded"] and parsed["text"][one["start"] : one["end"]] == one["text"] for one in chunks)


def test_a_large_content_is_sent_as_its_caller_takes_it(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "word " * 50
    path = f"/documents/{push(api, new('long', text))['documents'][0]['id']}/content"
    small = api.get(path)
    monkeypatch.setattr(routes, "AT_ONCE", 10)
    monkeypatch.setattr(api.runtime.blobs, "get_raw", None)  # all of it in memory
    large = api.get(path, by="reader")
    assert (large.text, large.headers["content-length"]) == (text, "250")
    alike = ("content-type", "content-disposition", "content-security-policy")
    assert [large.headers[one] for one in alike] == [small.headers[one] for one in alike]
    contents: Any = api.client.app.state.contents  # type: ignore[attr-defined]
    monkeypatch.setattr(contents, "_most", 1)
    body = api.runtime.blobs.open_raw(content_hash(text))
    slow = contents.send(body, caller="somebody", headers={}, media_type="text/plain")
    assert "1 large documents are being sent" in problem(api.get(path), 503)["detail"]
    del slow


def test_what_is_not_there_is_told(api: Api) -> None:
    for path in ("", "/content", "/text", "/chunks"):
        problem(api.get(f"/documents/99{path}"), 404)
    problem(api.post("/documents/99/retry"), 404)
    problem(api.delete("/documents/99"), 404)
    problem(api.get("/documents/0"), 422)
    problem(api.post("/documents", json={"collection": "nowhere", "documents": [new("a", "x")]}), 404)
    problem(api.post("/documents", json={"documents": [new("a", "x"), new("a", "y")]}), 422)
    problem(api.post("/documents", json={"documents": []}), 422)
    for odd in (
        new("\0", "x"),
        new("\ud800", "x"),
        new("a", "x", metadata={"a": "\0"}),
        new("a", "x", principals=["\0"]),
    ):
        problem(api.post("/documents", content=json.dumps({"documents": [odd]}), headers=JSON), 422)
    problem(api.post("/documents/delete", json={"documents": ["a"]}), 404)
    problem(api.post("/documents/retry", json={}), 422)
    problem(api.post("/documents/retry", json={"collection": "nowhere"}), 404)
    answer = push(api, new("empty", " "))
    problem(api.get(f"/documents/{answer['documents'][0]['id']}/text"), 404)


def test_quarantined_documents_run_again(api: Api) -> None:
    answer = push(api, new("a", "POISON"), new("b", "POISON too"), new("c", "fine"))
    del api.runtime.host  # the embedder is mended
    (api.runtime.settings.data_dir / "plugins.json").write_text(json.dumps({"version": 1}))
    retried = api.good(api.post(f"/documents/{answer['documents'][0]['id']}/retry", by="writer"), 202)
    api.pipeline.run()
    assert api.good(api.get(f"/operations/{retried['id']}"))["outcome"] == "succeeded"
    assert listed(api, "?status=quarantined") == ["b"]
    again = api.good(api.post("/documents/retry", json={}, by="writer"), 202)
    assert again["operation"] == f"retry-{again['id']}"
    api.pipeline.run()
    assert listed(api, "?status=indexed") == ["a", "b", "c"]
    assert api.good(api.get(f"/operations/{again['id']}"))["documents"] == 1
    assert problem(api.post("/documents/retry", json={}), 422)["detail"].startswith(
        "No document in default is in quarantine"
    )


def test_documents_go_to_the_trash_and_come_back(api: Api) -> None:
    answer = push(api, new("a", "zebras graze"), new("b", "otters swim"), new("c", "owls"))
    path = f"/documents/{answer['documents'][0]['id']}"
    problem(api.post(f"{path}/restore"), 409)
    api.good(api.delete(path, by="writer"), 202)
    api.pipeline.run()
    assert listed(api) == ["b", "c"] and listed(api, "?status=deleted") == ["a"]
    assert api.good(api.get(path))["trashed_at"] is not None
    assert "`purge`" in problem(api.delete(path), 409)["hint"]
    problem(api.post(f"{path}/retry"), 409)
    problem(api.get(f"{path}/content"), 404)
    api.good(api.post(f"{path}/restore", by="writer"), 202)
    api.pipeline.run()
    assert listed(api, "?status=indexed") == ["a", "b", "c"]
    api.good(api.post("/documents/delete", json={"documents": ["b", "c"], "purge": True}, by="writer"), 202)
    api.good(api.delete(path), 202)
    api.pipeline.run()
    api.good(api.delete(f"{path}?purge=true"), 202)
    api.pipeline.run()
    assert listed(api) == [] and sorted(listed(api, "?status=deleted")) == ["a", "b", "c"]
    for one in answer["documents"]:
        problem(api.post(f"/documents/{one['id']}/restore"), 409)
        for options in ("", "?purge=true"):
            refused = problem(api.delete(f"/documents/{one['id']}{options}"), 409)
            assert refused["hint"] == "It is not in the trash."


@pytest.mark.parametrize("purge", [True, False])
def test_nothing_is_read_of_a_deleted_document(api: Api, purge: bool) -> None:
    path = f"/documents/{push(api, new('a', 'zebras graze'))['documents'][0]['id']}"
    api.good(api.delete(f"{path}?purge={purge}"), 202)
    for _ in ("before the index knows", "and after"):
        for part in ("/content", "/text", "/chunks"):
            assert "zebras" not in problem(api.get(f"{path}{part}"), 404)["detail"]
        api.pipeline.run()


def test_whoever_sees_some_documents_sees_no_others(api: Api) -> None:
    answer = push(
        api,
        new("open", "zebras"),
        new("ours", "otters", principals=["ops", "hr"]),
        new("theirs", "owls", principals=["it"]),
    )
    ids = {one["document"]: one["id"] for one in answer["documents"]}
    anna = api.key("anna", role="writer", principals=["hr"])
    nobody = api.key("nobody", role="reader", principals=[])
    assert listed(api, by=anna) == ["open", "ours"]
    assert listed(api, by=nobody) == ["open"]
    assert api.good(api.get(f"/documents/{ids['ours']}", by=anna))["principals"] == ["hr"]
    for path in ("", "/content", "/text", "/chunks"):
        api.good(api.get(f"/documents/{ids['open']}", by=anna))
        problem(api.get(f"/documents/{ids['theirs']}{path}", by=anna), 404)
    problem(api.delete(f"/documents/{ids['theirs']}", by=anna), 404)
    problem(api.post("/documents/delete", json={"documents": ["theirs"]}, by=anna), 404)
    with api.runtime.ledger.write() as tx:  # a source says it for documents that don't
        tx.execute(update(sources).values(principals=["it"]))
    assert listed(api, by=anna) == ["ours"]
    assert listed(api, by=nobody) == []


def test_whoever_has_some_collections_reaches_no_others(api: Api) -> None:
    api.runtime.collection("other", FAKE_COLLECTION)
    push(api, new("a", "zebras"))
    theirs = push(api, new("b", "otters"), collection="other")["documents"][0]["id"]
    anna = api.key("anna", role="writer", collections=["default"])
    assert listed(api, by=anna) == ["a"]
    problem(api.get("/documents?collection=other", by=anna), 403)
    for method, path in [("GET", ""), ("GET", "/content"), ("GET", "/chunks"), ("POST", "/retry"), ("DELETE", "")]:
        problem(api.ask(method, f"/documents/{theirs}{path}", by=anna), 404)
    problem(api.post("/documents", json={"collection": "other", "documents": [new("c", "x")]}, by=anna), 403)
    problem(api.post("/documents/delete", json={"collection": "other", "documents": ["b"]}, by=anna), 403)
