"""Uploads, and requests that are sent twice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from httpx import Response

from semantik_pipeline import push
from semantik_pipeline.ledger.access import audit_trail, idempotency
from tests.integration.api.conftest import Api, problem
from tests.integration.conftest import FAKE_COLLECTION


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    made = make_api()
    made.runtime.collection("default", FAKE_COLLECTION)
    return made


def upload(api: Api, *files: tuple[str, bytes], key: str | None = None, **form: str) -> Response:
    named = [("files", (name, body, "application/octet-stream")) for name, body in files]
    headers = {"Idempotency-Key": key} if key else {}
    return api.post("/documents/files", files=named, data=form, headers=headers, by="writer")


def rows(api: Api) -> dict[str, dict[str, Any]]:
    return {row["document"]: row for row in api.good(api.get("/documents"))["documents"]}


def test_files_are_uploaded_with_what_is_said_of_them(api: Api) -> None:
    about = {"b.md": {"document": "handbook/b", "title": "Bees", "metadata": {"team": "x"}, "principals": ["hr"]}}
    files = ("a.txt", b"zebras graze"), ("b.md", b"# Hives\n\nbees")
    answer = api.good(upload(api, *files, attributes=json.dumps(about), source="desk"), 202)
    assert [one["document"] for one in answer["documents"]] == ["a.txt", "handbook/b"]
    api.pipeline.run()
    found = rows(api)
    assert (found["a.txt"]["status"], found["a.txt"]["media_type"]) == ("indexed", "text/plain")
    about_b = found["handbook/b"]
    assert (about_b["media_type"], about_b["source"], about_b["principals"]) == ("text/markdown", "desk", ["hr"])
    shown = api.good(api.get(f"/documents/{about_b['id']}"))
    assert shown["metadata"] == {"file_name": "b.md", "team": "x", "title": "Bees"}


def test_the_same_upload_twice_changes_nothing(api: Api) -> None:
    first = api.good(upload(api, ("a.txt", b"zebras graze")), 202)
    api.pipeline.run()
    again = api.good(upload(api, ("a.txt", b"zebras graze")), 202)
    assert again["id"] != first["id"]
    assert again["documents"] == [{**first["documents"][0], "outcome": "unchanged"}]
    operation = api.good(api.get(f"/operations/{again['id']}"))
    assert (operation["outcome"], operation["result"]["chunks"]["embedded"]) == ("succeeded", 0)
    assert rows(api)["a.txt"]["revision"] == 1


def test_an_upload_that_makes_no_sense_is_refused_whole(api: Api) -> None:
    good = ("a.txt", b"x")
    assert problem(upload(api, good, attributes="{no json"), 422)["errors"][0]["field"].startswith("body.attributes")
    assert (
        problem(upload(api, good, attributes='{"a.txt": {"colour": 1}}'), 422)["errors"][0]["field"]
        == "body.attributes.a.txt.colour"
    )
    assert "z.txt" in problem(upload(api, good, attributes='{"z.txt": {}}'), 422)["detail"]
    problem(upload(api, good, good), 422)
    problem(upload(api, good, collection="nowhere"), 404)
    problem(upload(api), 422)
    assert rows(api) == {}


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else 1


def test_metadata_too_deep_to_be_shown_is_refused(api: Api) -> None:
    def given(levels: int) -> dict[str, Any]:
        return {"document": "a", "text": "zebras graze", "metadata": {"tree": nested(levels - 1)}}

    for levels in (65, 300, 900):
        refused = problem(api.post("/documents", json={"documents": [given(levels)]}, by="writer"), 422)
        assert "more than 64 levels" in json.dumps(refused["errors"]), levels
    api.good(api.post("/documents", json={"documents": [given(64)]}, by="writer"), 202)
    api.pipeline.run()
    found = api.good(api.post("/search", json={"query": "zebras"}, by="reader"))["hits"][0]
    shown = api.good(api.get(f"/documents/{rows(api)['a']['id']}"))
    assert found["metadata"]["tree"] == shown["metadata"]["tree"] == nested(63)


def test_a_nul_is_refused_and_text_about_one_is_not(api: Api) -> None:
    def given(**metadata: Any) -> Response:
        return api.post("/documents", json={"documents": [{"document": "a", "text": "x", "metadata": metadata}]})

    for holding in ({"a": "b\x00"}, {"a\x00": 1}, {"a": [{"b": "\x00"}]}):
        assert "a NUL character" in json.dumps(problem(given(**holding), 422)["errors"])
    api.good(given(escape="\\u0000", path=r"C:\u0000\logs"), 202)


def test_a_request_under_a_key_is_done_once_and_answered_as_often_as_it_is_sent(api: Api) -> None:
    first = upload(api, ("a.txt", b"zebras graze"), key="k1")
    again = upload(api, ("a.txt", b"zebras graze"), key="k1")  # whatever boundary its parts have
    assert api.good(again, 202) == api.good(first, 202)
    assert again.headers["location"] == first.headers["location"]
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert "a different request" in problem(upload(api, ("a.txt", b"otters"), key="k1"), 422)["detail"]
    body = {"documents": [{"document": "t", "text": "owls"}]}
    texts = [api.post("/documents", json=body, headers={"Idempotency-Key": "k2"}, by="writer") for _ in range(2)]
    assert api.good(texts[0], 202) == api.good(texts[1], 202)
    problem(api.post("/documents", json=body, headers={"Idempotency-Key": "k1"}, by="writer"), 422)
    with api.runtime.ledger.read() as tx:
        pushes = [entry for entry in audit_trail.entries(tx, limit=50) if entry["event"] == "document.push"]
    assert [entry["actor"] for entry in pushes] == ["key:writer"] * 2
    other = api.post("/documents", json=body, headers={"Idempotency-Key": "k1"}, by="admin")
    assert api.good(other, 202)["documents"][0]["outcome"] == "unchanged"


def test_a_request_that_failed_may_be_sent_again_under_its_key(api: Api) -> None:
    body = {"collection": "later", "documents": [{"document": "t", "text": "owls"}]}
    problem(api.post("/documents", json=body, headers={"Idempotency-Key": "k"}), 404)
    api.runtime.collection("later", FAKE_COLLECTION)
    api.good(api.post("/documents", json=body, headers={"Idempotency-Key": "k"}), 202)


def test_while_a_request_is_in_hand_the_same_one_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, real = threading.Event(), threading.Event(), push.push

    def slow(*arguments: Any, **options: Any) -> Any:
        begun.set()
        assert go_on.wait(20)
        return real(*arguments, **options)

    monkeypatch.setattr(push, "push", slow)
    answers: list[Response] = []
    thread = threading.Thread(target=lambda: answers.append(upload(api, ("a.txt", b"zebras"), key="k")))
    thread.start()
    assert begun.wait(20)
    problem(upload(api, ("a.txt", b"zebras"), key="k"), 409)
    go_on.set()
    thread.join()
    assert api.good(answers[0], 202) == api.good(upload(api, ("a.txt", b"zebras"), key="k"), 202)


def test_a_large_upload_and_a_large_body_are_refused(make_api: Callable[..., Api]) -> None:
    api = make_api(api={"max_body_mb": 1, "max_upload_mb": 2})
    problem(upload(api, ("a.txt", b"x" * 2_100_000)), 413)
    problem(api.post("/documents", json={"documents": [{"document": "a", "text": "x" * 1_100_000}]}), 413)


def test_a_request_that_takes_long_is_not_done_twice(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "IN_HAND", 0.4)
    plain, again = push.push, []
    body = {"documents": [{"document": "slow", "text": "owls"}]}

    def send() -> Response:
        return api.post("/documents", json=body, headers={"Idempotency-Key": "slow"}, by="writer")

    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(1)
        again.append(send())
        return plain(*arguments, **options)

    monkeypatch.setattr(push, "push", slow)
    api.good(send(), 202)
    assert "in progress" in problem(again[0], 409)["detail"] and len(again) == 1
