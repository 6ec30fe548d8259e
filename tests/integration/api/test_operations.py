"""Operations by the API: listed, shown, steered, followed as they go."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from semantik_pipeline import push
from semantik_pipeline.api import streams
from semantik_pipeline.api.models.operations import OperationProgress
from semantik_pipeline.api.streams import Streams
from semantik_pipeline.api.threads import Threads
from semantik_pipeline.errors import ServiceUnavailable
from semantik_pipeline.push import Given
from semantik_pipeline.settings import load_settings
from tests.integration.api.conftest import Api, problem
from tests.integration.conftest import FAKE_COLLECTION

SECRET = "sk-proj-" + "q8Zt" * 10


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    made = make_api(plugins={"fake-embedder": {"fail_on": "POISON"}})
    made.runtime.collection("default", FAKE_COLLECTION)
    return made


def give(api: Api, *names: str, text: str = "zebras graze", collection: str = "default", run: bool = False) -> int:
    documents = [Given(unique_id=name, content=f"{text} {name}") for name in names]
    pushed = push.push(api.runtime, documents, collection=collection)
    if run:
        api.pipeline.run()
    return pushed.operation_id


# -- list, show, steer -------------------------------------------------------------------------------------------------


def test_operations_are_listed_newest_first_in_pages(api: Api) -> None:
    ids = [give(api, f"d{number}", run=number < 3) for number in range(5)]
    found, cursor = [], ""
    while cursor is not None:
        page = api.good(api.get(f"/operations?limit=2{cursor and f'&cursor={cursor}'}", by="reader"))
        assert len(page["operations"]) <= 2
        found += page["operations"]
        cursor = page["next_cursor"]
    assert [one["id"] for one in found] == ids[::-1]

    def listed(query: str) -> list[int]:
        return [one["id"] for one in api.good(api.get(f"/operations?{query}"))["operations"]]

    assert listed("finished=true") == ids[2::-1]
    assert listed("finished=false&kind=push&collection=default") == ids[:2:-1]
    assert listed("kind=sync") == []


def test_one_is_shown_by_name_or_number(api: Api) -> None:
    number = give(api, "a", "b")
    shown = api.good(api.get(f"/operations/push-{number}", by="reader"))
    assert shown == api.good(api.get(f"/operations/{number}")) | {
        "seconds": shown["seconds"],
        "progress": shown["progress"],
    }
    assert (shown["state"], shown["documents"], shown["progress"]["seen"]) == ("running", 2, 2)
    assert shown["progress"]["stages"] == {"chunk": 2}
    for wrong in ("99", "sync-1", "x"):
        problem(api.get(f"/operations/{wrong}"), 404)


def test_operations_are_paused_resumed_cancelled_and_retried(api: Api) -> None:
    number = give(api, "a", "b")
    assert api.good(api.post(f"/operations/{number}/pause", by="writer"))["affected_documents"] == 2
    api.pipeline.run()
    assert api.good(api.get(f"/operations/{number}"))["state"] == "paused"
    assert api.good(api.post(f"/operations/{number}/resume", by="writer"))["operation"]["state"] == "running"
    assert api.good(api.post(f"/operations/{number}/cancel", by="writer"))["affected_documents"] == 2
    assert api.good(api.get(f"/operations/{number}"))["outcome"] == "cancelled"
    assert "has ended" in problem(api.post(f"/operations/{number}/cancel"), 409)["detail"]
    keyed = {"Idempotency-Key": "again"}
    answers = [api.post(f"/operations/{number}/retry", headers=keyed, by="writer") for _ in range(2)]
    again = api.good(answers[0], 202)
    assert api.good(answers[1], 202) == again and answers[1].headers["location"].endswith(f"/operations/{again['id']}")
    api.pipeline.run()
    assert api.good(api.get(f"/operations/{again['id']}"))["outcome"] == "succeeded"
    problem(api.post(f"/operations/{again['id']}/retry"), 422)


def test_whoever_has_some_collections_sees_no_others_operations(api: Api) -> None:
    api.runtime.collection("other", FAKE_COLLECTION)
    mine, theirs = give(api, "a"), give(api, "a", collection="other")
    anna = api.key("anna", role="writer", collections=["default"])
    assert [one["id"] for one in api.good(api.get("/operations", by=anna))["operations"]] == [mine]
    problem(api.get("/operations?collection=other", by=anna), 403)
    for method, action in [
        ("GET", ""),
        ("GET", "/events"),
        ("POST", "/pause"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
    ]:
        problem(api.ask(method, f"/operations/{theirs}{action}", by=anna), 404)


def test_whoever_sees_some_documents_is_not_told_what_may_name_others(api: Api) -> None:
    from semantik_pipeline import operations

    source = operations.SourceRequest(
        connector="fake-connector", name="fake", config={"documents": {"x": "y"}, "fail_after": 0}
    )
    number = operations.begin_sync(api.runtime, [source], collection="default")
    api.pipeline.run()
    anna = api.key("anna", role="reader", principals=["hr"])
    told = api.good(api.get(f"/operations/{number}"))
    assert told["result"]["errors"] and told["progress"]["errors"]
    shown = api.good(api.get(f"/operations/{number}", by=anna))
    assert shown["outcome"] == told["outcome"]
    assert "errors" not in shown["result"] and shown["progress"]["errors"] == []
    assert "errors" not in shown["progress"]["result"]


def test_what_failed_is_told_without_what_looks_like_a_credential(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from semantik_pipeline import operations
    from semantik_pipeline.errors import PermanentError
    from semantik_pipeline.testing import FakeConnector

    def refuse(self: FakeConnector) -> None:
        raise PermanentError(f"The server refuses {SECRET}.")

    monkeypatch.setattr(FakeConnector, "validate_config", refuse)
    source = operations.SourceRequest(connector="fake-connector", name="fake", config={"documents": {"x": "y"}})
    number = operations.begin_sync(api.runtime, [source], collection="default")
    api.pipeline.run()
    shown = api.get(f"/operations/{number}")
    assert "The server refuses" in api.good(shown)["result"]["errors"][0]
    for found in (shown, api.get("/operations"), api.get(f"/operations/{number}/events")):
        assert "The server refuses" in found.text and SECRET not in found.text


# -- events ------------------------------------------------------------------------------------------------------------


def parsed(text: str) -> list[dict[str, Any]]:
    """Events as ``{"event", "id", "data"}``, in their order."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if "data" in fields:
            found.append({**fields, "data": json.loads(fields["data"])})
    return found


def test_one_that_has_ended_is_told_once_and_nobody_comes_back(api: Api) -> None:
    number = give(api, "a", run=True)
    found = api.get(f"/operations/push-{number}/events", by="reader")
    assert found.headers["content-type"].startswith("text/event-stream")
    [last] = parsed(found.text)
    assert (last["event"], last["data"]["outcome"], last["data"]["stages"]) == ("finished", "succeeded", {"indexed": 1})
    assert api.get(f"/operations/{number}/events", headers={"Last-Event-ID": last["id"]}).status_code == 204
    assert parsed(api.get(f"/operations/{number}/events", headers={"Last-Event-ID": "older"}).text) == [last]
    problem(api.get("/operations/99/events"), 404)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_progress_is_followed_as_it_happens(api: Api, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "POLL", 0.05)
    monkeypatch.setattr(streams, "HEARTBEAT", 0.1)
    number = give(api, "a", "b")
    headers = {"Authorization": f"Bearer {api.keys['reader']}"}
    open_streams = api.client.app.state.streams
    lines: list[str] = []
    with httpx.stream("GET", f"{url}/operations/{number}/events", headers=headers, timeout=20) as stream:
        coming = stream.iter_lines()

        def until(part: str) -> str:
            for line in coming:
                lines.append(line)
                if part in line:
                    return line
            raise AssertionError(f"the stream ended without {part}")

        assert '"chunk":2' in until("data:")
        until(": still here")
        api.pipeline.run("chunk")
        assert '"embed":2' in until("data:")
        with httpx.stream("GET", f"{url}/operations/{number}/events", headers=headers, timeout=20) as beside:
            besides = beside.iter_lines()  # dropping it would end the stream
            assert any(line.startswith("data:") for line in besides)
            assert open_streams._count == 2
        wait_for(lambda: open_streams._count == 1)  # whoever leaves makes place
        api.pipeline.run()
        until("event: finished")
        assert '"outcome":"succeeded"' in until("data:")
        assert [line for line in coming if line.startswith("data")] == []
    assert lines[0] == "retry: 2000"
    wait_for(lambda: open_streams._count == 0)


def test_a_server_that_stops_ends_its_streams(api: Api, url: str) -> None:
    number = give(api, "a")
    headers = {"Authorization": f"Bearer {api.keys['reader']}"}
    with httpx.stream("GET", f"{url}/operations/{number}/events", headers=headers, timeout=20) as stream:
        coming = stream.iter_lines()
        assert next(line for line in coming if line.startswith("event"))
        api.client.app.state.ending.set()
        assert [line for line in coming if line.startswith("event")] == []


def snapshot(**changes: Any) -> OperationProgress:
    values = {"operation": "push-1", "state": "running", "outcome": None, "reason": None, "result": None}
    values |= {"sources_running": 0, "seen": 1, "stages": {}, "chunks": 0, "chunks_embedded": 0, "errors": []}
    return OperationProgress.model_validate({**values, "seconds": 1.0, **changes})


def test_there_are_so_many_streams_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST", 2)

    async def play() -> None:
        found = Streams(threading.Event(), Threads(load_settings().api))
        for caller in ("anna", "ben"):
            found.open("one", snapshot, None, caller=caller)
        with pytest.raises(ServiceUnavailable) as refused:
            found.open("one", snapshot, None, caller="carla")
        assert refused.value.retry_after

    asyncio.run(play())


def test_one_caller_leaves_streams_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "OF_ONE", 2)

    async def play() -> None:
        found = Streams(threading.Event(), Threads(load_settings().api))
        first, _ = [found.open("one", snapshot, None, caller="anna") for _ in range(2)]
        with pytest.raises(ServiceUnavailable, match="2 streams are open for anna"):
            found.open("one", snapshot, None, caller="anna")
        found.open("one", snapshot, None, caller="ben")
        first._left()  # type: ignore[attr-defined]
        found.open("one", snapshot, None, caller="anna")

    asyncio.run(play())


def test_those_who_follow_one_operation_share_the_looks_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "POLL", 0.1)
    looks = 0

    def look() -> OperationProgress:
        nonlocal looks
        looks += 1
        return snapshot(state="finished" if looks > 3 else "running", seen=looks)

    async def follow(found: Streams) -> list[bytes]:
        return [piece async for piece in found.open("one", look, None, caller="anna").body_iterator]

    async def play() -> list[list[bytes]]:
        found = Streams(threading.Event(), Threads(load_settings().api))
        return await asyncio.gather(*(follow(found) for _ in range(5)))

    told = asyncio.run(play())
    assert looks == 4
    assert all(pieces[-1].startswith(b"event: finished") for pieces in told)


def test_a_stream_ends_after_a_while_so_that_its_key_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LONGEST", 0.1)
    monkeypatch.setattr(streams, "POLL", 0.02)

    async def play() -> list[bytes]:
        return [
            piece
            async for piece in Streams(threading.Event(), Threads(load_settings().api))
            .open("one", snapshot, None, caller="anna")
            .body_iterator
        ]

    pieces = asyncio.run(play())
    assert [piece.split(b":")[0] for piece in pieces] == [b"retry", b"event"]
