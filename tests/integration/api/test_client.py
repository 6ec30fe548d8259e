"""The Python client, both kinds by one body of tests, over the real application."""

from __future__ import annotations

import asyncio
import inspect
import json
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from semantik_pipeline import errors
from semantik_pipeline.api.app import create_app
from semantik_pipeline.client import AsyncClient, Client, Retries, Upload
from semantik_pipeline.client.calls import Request, Resource
from semantik_pipeline.client.resources.operations import _Follow
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
from tests.integration.api.conftest import Api
from tests.integration.conftest import FAKE_COLLECTION

URL = "http://127.0.0.1:1"

#: Sent again at once, and twice at most.
QUICK = Retries(times=2, first=0.0)


class Asker:
    """A client of either kind, asked in one way: ``ask(lambda client: client.documents.list())``."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.runner = asyncio.Runner() if isinstance(client, AsyncClient) else None

    def __call__(self, request: Callable[[Any], Any]) -> Any:
        answer = request(self.client)
        if self.runner is None:
            return list(answer) if isinstance(answer, Iterator) else answer
        return self.runner.run(_listed(answer) if isinstance(answer, AsyncIterator) else _awaited(answer))

    def close(self) -> None:
        self(lambda client: client.close())
        if self.runner is not None:
            self.runner.close()


async def _listed(answer: AsyncIterator[Any]) -> list[Any]:
    return [one async for one in answer]


async def _awaited(answer: Any) -> Any:
    return await answer


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


class Through(httpx.BaseTransport):
    """To the application without a server, for a client that does not wait for a loop."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = dict(request.headers)
        came = self._api.client.request(request.method, str(request.url), headers=headers, content=request.read())
        return httpx.Response(came.status_code, headers=dict(came.headers), content=came.content)


@pytest.fixture
def ask(api: Api, kind: str) -> Iterator[Asker]:
    """The admin's client of the API."""
    if kind == "sync":
        client: Any = Client(URL, api.keys["admin"], transport=Through(api))
    else:
        client = AsyncClient(URL, api.keys["admin"], transport=httpx.ASGITransport(api.client.app))
    asker = Asker(client)
    yield asker
    asker.close()


def answering(kind: str, answer: Callable[[httpx.Request], httpx.Response]) -> Asker:
    """A client whose server is a function."""
    transport = httpx.MockTransport(answer)
    if kind == "sync":
        return Asker(Client(URL, "sk_x", retries=QUICK, transport=transport))
    return Asker(AsyncClient(URL, "sk_x", retries=QUICK, transport=transport))


def test_documents_are_given_followed_found_and_deleted(api: Api, ask: Asker) -> None:
    ask(lambda client: client.collections.create("notes", config=FAKE_COLLECTION))
    texts = [{"document": f"faq/{n}", "text": f"Passwords of room {n} are reset."} for n in range(5)]
    pushed = ask(lambda client: client.documents.push(texts, collection="notes"))
    assert [one["outcome"] for one in pushed["documents"]] == ["new"] * 5
    api.pipeline.run()
    followed = ask(lambda client: client.operations.follow(pushed["operation"]))
    assert (followed[-1]["state"], followed[-1]["outcome"]) == ("finished", "succeeded")
    found = ask(lambda client: client.search("passwords", collection="notes", top_k=3, use_reranker=False))
    assert len(found["hits"]) == 3
    rows = ask(lambda client: client.documents.each(collection="notes", limit=2))
    assert [row["document"] for row in rows] == [f"faq/{n}" for n in range(5)]
    chunks = ask(lambda client: client.documents.each_chunk(rows[0]["id"]))
    assert "room 0" in chunks[0]["text"]
    gone = ask(lambda client: client.documents.delete_many(["faq/0"], collection="notes"))
    api.pipeline.run()
    assert ask(lambda client: client.operations.show(gone["id"]))["outcome"] == "succeeded"


def test_any_mapping_and_collection_is_sent(kind: str) -> None:
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        return httpx.Response(200, json={"hits": [], "results": []})

    asker = answering(kind, answer)
    said = MappingProxyType({"must": ({"key": "language", "match": MappingProxyType({"any": {"en"}})},)})
    asked: dict[str, Any] = {"collections": {"notes"}, "filter": said, "facets": {"language": 1}.keys()}
    asked |= {"postprocessors": ("dedupe", MappingProxyType({"plugin": "group"}))}
    asker(lambda client: client.search("trains", **asked))
    asker(lambda client: client.search_batch(MappingProxyType({**asked, "query": one}) for one in ("trains",)))
    asker.close()
    plain = {
        "query": "trains",
        "collections": ["notes"],
        "filter": {"must": [{"key": "language", "match": {"any": ["en"]}}]},
        "facets": ["language"],
        "postprocessors": ["dedupe", {"plugin": "group"}],
    }
    assert sent == [plain, {"searches": [plain]}]


def test_files_are_uploaded_and_read_back(api: Api, ask: Asker, tmp_path: Path) -> None:
    ask(lambda client: client.collections.create("notes", config=FAKE_COLLECTION))
    (tmp_path / "travel.txt").write_bytes(b"Trains are booked by the office.")
    files = [
        Upload(name="travel.txt", content=tmp_path / "travel.txt", media_type="text/plain"),
        Upload(name="b.txt", content=b"Nothing.", media_type="text/plain"),
    ]
    about = {"travel.txt": {"document": "handbook/travel", "title": "Travel"}}
    for outcome in ("new", "unchanged"):
        pushed = ask(lambda client: client.documents.upload(files, collection="notes", attributes=about))
        assert [one["outcome"] for one in pushed["documents"]] == [outcome] * 2
    api.pipeline.run()
    number = pushed["documents"][0]["id"]
    assert ask(lambda client: client.documents.content(number)) == b"Trains are booked by the office."
    assert ask(lambda client: client.documents.show(number))["title"] == "Travel"


def test_a_collection_is_taken_out_and_put_in(api: Api, ask: Asker, tmp_path: Path) -> None:
    ask(lambda client: client.collections.create("notes", config=FAKE_COLLECTION))
    ask(lambda client: client.documents.push([{"document": "a", "text": "one"}], collection="notes"))
    api.pipeline.run()
    file = tmp_path / "notes.tar.gz"
    assert ask(lambda client: client.collections.export("notes", file)) == file
    with pytest.raises(errors.UsageError, match="already"):
        ask(lambda client: client.collections.export("notes", file))
    with pytest.raises(errors.NotFound):
        ask(lambda client: client.collections.export("none", tmp_path / "none.tar"))
    assert sorted(path.name for path in tmp_path.glob("*.tar*")) == ["notes.tar.gz"]
    told = ask(lambda client: client.collections.import_(file, name="copy"))
    assert (told["documents"], told["vectors"]) == (1, 1)
    api.pipeline.run()
    assert ask(lambda client: client.collections.verify("copy"))["clean"] is True
    found = {"must": [{"key": "status", "match": {"value": "indexed"}}]}
    assert ask(lambda client: client.collections.plan_rerun("copy", found))["documents"] == 1
    assert ask(lambda client: client.trash(collection="copy", limit=1))["next_cursor"] is None


def test_one_key_is_one_push(ask: Asker) -> None:
    ask(lambda client: client.collections.create("notes", config=FAKE_COLLECTION))
    given = [{"document": "a", "text": "one"}]
    first, again = (ask(lambda client: client.documents.push(given, collection="notes", key="k")) for _ in range(2))
    assert first == again


def test_errors_are_those_that_the_server_met(api: Api, ask: Asker) -> None:
    with pytest.raises(errors.NotFound, match="nowhere") as met:
        ask(lambda client: client.collections.show("nowhere"))
    assert met.value.hint and met.value.exit_code == 2
    with pytest.raises(errors.UsageError, match="top_k"):
        ask(lambda client: client.search("x", top_k=0))
    ask(lambda client: client.collections.create("notes"))
    with pytest.raises(errors.Conflict):
        ask(lambda client: client.collections.create("notes"))
    with pytest.raises(errors.ChangedMeanwhile):
        ask(lambda client: client.collections.configure("notes", {"chunking.max_tokens": 90}, if_match="old"))
    ask.client._http.headers["Authorization"] = "Bearer sk_nobody"
    with pytest.raises(errors.Unauthorized):
        ask(lambda client: client.collections.list())


def test_collections_sources_keys_and_plugins(ask: Asker, tmp_path: Path) -> None:
    made = ask(lambda client: client.collections.create("notes", config=FAKE_COLLECTION))
    changed = ask(
        lambda client: client.collections.configure("notes", {"chunking.max_tokens": 50}, if_match=made["etag"])
    )
    assert changed["config"]["chunking"]["options"]["max_tokens"] == 50
    plan = ask(lambda client: client.collections.plan_reindex("notes", {"chunking.max_tokens": 60}))
    assert plan["documents"] == 0
    papers = tmp_path / "papers"
    papers.mkdir()
    source = ask(lambda client: client.sources.add("directory", "n", config={"path": str(papers)}, collection="notes"))
    assert ask(lambda client: client.sources.update(source["id"], name="m"))["name"] == "m"
    assert ask(lambda client: client.sources.pause(source["id"], reason="moves"))["paused_reason"] == "moves"
    assert [one["name"] for one in ask(lambda client: client.sources.each(collection="notes"))] == ["m"]
    key = ask(lambda client: client.keys.create("page", role="reader", collections=["notes"], expires_in="1d"))
    assert key["key"].startswith("sk_")
    assert ask(lambda client: client.keys.revoke("page"))["state"] == "revoked"
    found = ask(lambda client: client.plugins.list(kind="embedding"))
    assert "fake-embedder" in {one["id"] for one in found["plugins"]}
    assert ask(lambda client: client.plugins.disable("fake-embedder"))["plugin"]["enabled"] is False
    assert ask(lambda client: client.fleet.status())["distributed"] is False
    assert ask(lambda client: client.health.ready())["status"] == "ready"
    assert "semantik_" in ask(lambda client: client.metrics())


# -- what is sent again -----------------------------------------------------------------------------------------------


def test_a_lost_answer_is_asked_for_again_only_where_that_changes_nothing(kind: str) -> None:
    asked: list[httpx.Request] = []

    def lost(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise httpx.ReadTimeout("nothing came")

    ask = answering(kind, lost)
    for once in (
        lambda client: client.collections.delete("a"),
        lambda client: client.sources.sync(1),
    ):
        with pytest.raises(errors.ServiceUnavailable, match="nothing came"):
            ask(once)
    assert len(asked) == 2
    with pytest.raises(errors.ServiceUnavailable):
        ask(lambda client: client.documents.push([{"document": "a", "text": "b"}]))
    keys = {request.headers["idempotency-key"] for request in asked[2:]}
    assert (len(asked) - 2, len(keys)) == (3, 1)  # the same name each time
    ask.close()


def test_who_is_sent_away_comes_back_as_the_server_says(kind: str) -> None:
    answers = [httpx.Response(429, headers={"retry-after": "0"}), httpx.Response(200, json={"hits": []})]
    ask = answering(kind, lambda _: answers.pop(0))
    assert ask(lambda client: client.search("x")) == {"hits": []}
    answers[:] = [httpx.Response(503, headers={"retry-after": "900"})]
    with pytest.raises(errors.ApiError) as met:
        ask(lambda client: client.search("x"))
    assert met.value.status == 503
    ask.close()


def test_an_answer_that_is_none_of_ours_keeps_its_status_and_id(kind: str) -> None:
    ask = answering(kind, lambda _: httpx.Response(500, text="<html>", headers={"x-request-id": "abc"}))
    with pytest.raises(errors.ApiError, match="500") as met:
        ask(lambda client: client.trash())
    assert (met.value.status, met.value.request_id) == (500, "abc")
    assert "abc" in str(met.value)
    ask.close()


def test_a_stream_that_breaks_goes_on_where_it_was(kind: str) -> None:
    seen: list[str | None] = []
    events = ['event: progress\nid: a\ndata: {"seen": 1}\n\n', 'event: finished\nid: b\ndata: {"seen":\ndata: 2}\n\n']

    def stream(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("last-event-id"))
        if len(seen) == 2:
            raise httpx.ConnectError("away")
        return httpx.Response(200, text=f"retry: 0\n\n: still here\n\n{events.pop(0)}")

    ask = answering(kind, stream)
    assert ask(lambda client: client.operations.follow("sync-1")) == [{"seen": 1}, {"seen": 2}]
    assert seen == [None, "a", "a"]
    ask.close()


# -- the client is whole ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    with Runtime(load_settings(data_dir=tmp_path_factory.mktemp("openapi"))) as runtime:
        yield create_app(runtime)


def methods() -> dict[str, Request[Any, Any] | _Follow]:
    """The client's methods by the operation that they ask for."""
    client = Client(URL)
    resources = [client, *(one for one in vars(client).values() if isinstance(one, Resource))]
    found = [
        method
        for resource in resources
        for cls in type(resource).__mro__
        for method in vars(cls).values()
        if isinstance(method, Request | _Follow)
    ]
    client.close()
    return {method.operation: method for method in found}


def test_every_operation_of_the_api_has_a_method(app: FastAPI) -> None:
    documented = {
        operation["operationId"]: (method.upper(), path.removeprefix("/api/v2"))
        for path, found in app.openapi()["paths"].items()
        for method, operation in found.items()
    }
    assert {name: (one.method, one.path) for name, one in methods().items()} == documented


def test_answers_promise_only_what_the_api_does(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    seen: set[Any] = set()

    def compare(answer: Any) -> Iterator[str]:
        for inner in typing.get_args(answer):
            yield from compare(inner)
        if typing.is_typeddict(answer) and answer not in seen:
            seen.add(answer)  # one may hold others of its kind
            fields = schemas[answer.__name__]["properties"]
            for name, kind in typing.get_type_hints(answer).items():
                if name not in fields:
                    yield f"{answer.__name__}.{name}"
                yield from compare(kind)

    checked = 0
    for method in methods().values():
        if isinstance(method, Request):
            promised = typing.get_type_hints(method.build)["return"]
            checked += any(map(typing.is_typeddict, typing.get_args(promised)))
            assert [*compare(promised)] == []
    assert checked > 50


def test_both_clients_say_what_their_methods_do() -> None:
    for name, method in methods().items():
        if isinstance(method, Request):
            assert inspect.getdoc(method.build), name
