"""What whoever sees some documents only may change, give and ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, update

from semantik_pipeline.api.routing import GuardedRoute
from semantik_pipeline.generations import building
from semantik_pipeline.ledger.documents.document_reports import STATUSES, UNREAD
from semantik_pipeline.ledger.tables import documents, sources
from tests.integration.api.conftest import Api, problem
from tests.integration.conftest import FAKE_COLLECTION


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    made = make_api(plugins={"fake-chunker": {"fail_on": "POISON"}})
    made.runtime.collection("default", FAKE_COLLECTION)
    made.key("anna", role="writer", principals=["hr", "sales"])
    made.key("nobody", role="writer", principals=[])
    made.key("boss", role="admin", principals=["hr"])
    return made


def give(api: Api, by: str, name: str, text: str, **about: Any) -> Any:
    return api.post("/documents", by=by, json={"documents": [{"document": name, "text": text, **about}]})


def test_what_concerns_more_than_documents_is_not_for_them(api: Api) -> None:
    give(api, "writer", "a", "zebras")
    wrong, asked = [], 0
    for method, path, route in guarded(api):
        place = path.replace("{operation}", "1").replace("{source_id}", "1").replace("{name}", "default")
        if route.rule.role == "reader" or route.rule.documents:
            continue
        asked += 1
        found = api.ask(method, place, by="boss", json={})
        if found.status_code != 403:
            wrong.append(f"{method} {path}: {found.status_code}")
    assert asked > 25 and not wrong, "\n".join(wrong)


def test_a_route_of_a_collection_turns_other_callers_away_before_it_reads_their_body(api: Api) -> None:
    api.key("other", role="admin", collections=["another"])
    about = [(method, path) for method, path, route in guarded(api) if path.startswith("/collections/{name}")]
    assert len(about) > 10
    for method, path in about:
        found = api.ask(method, path.replace("{name}", "default"), by="other", content=b"{no json")
        assert "access to the collection 'default'" in problem(found, 403)["detail"], f"{method} {path}"


def guarded(api: Api) -> list[tuple[str, str, GuardedRoute]]:
    from importlib import import_module

    from semantik_pipeline.api.app import RESOURCES

    routers = [import_module(f"semantik_pipeline.api.routes.{name}").router for name in RESOURCES]
    return [
        (method, route.path, route)
        for router in routers
        for route in router.routes
        if isinstance(route, GuardedRoute)
        for method in route.methods
    ]


def test_only_routes_about_documents_are_open_to_them(api: Api) -> None:
    names = {route.operation_id for _, _, route in guarded(api) if route.rule.documents}
    single = {f"documents_{what}" for what in ("retry", "delete", "restore", "retry_many", "delete_many")}
    assert names == single | {"documents_push", "documents_upload"}


def test_what_is_hidden_is_neither_overwritten_nor_compared(api: Api) -> None:
    api.good(give(api, "writer", "theirs", "owls", principals=["it"]), 202)
    api.good(give(api, "writer", "ours", "bees", principals=["hr", "it"]), 202)
    told = [problem(give(api, "anna", "theirs", text), 409)["detail"] for text in ("owls", "otters")]
    assert told[0] == told[1]
    both = [{"document": "new", "text": "x"}, {"document": "theirs", "text": "x"}]
    problem(api.post("/documents", by="anna", json={"documents": both}), 409)
    files = [("files", ("theirs", b"owls", "text/plain"))]
    problem(api.post("/documents/files", by="anna", files=files), 409)
    assert api.good(give(api, "anna", "ours", "wasps"), 202)["documents"][0]["outcome"] == "changed"
    rows = {row["document"]: row for row in api.good(api.get("/documents"))["documents"]}
    assert (set(rows), rows["theirs"]["revision"], rows["theirs"]["principals"]) == ({"theirs", "ours"}, 1, ["it"])


def test_what_they_give_is_open_to_their_own_principals(api: Api) -> None:
    api.good(give(api, "anna", "a", "zebras"), 202)
    api.good(give(api, "anna", "b", "otters", principals=["sales"]), 202)
    for principals in (["it"], ["hr", "it"], []):
        problem(give(api, "anna", "c", "owls", principals=principals), 403)
    problem(give(api, "nobody", "d", "owls"), 403)
    rows = api.good(api.get("/documents"))["documents"]
    assert {row["document"]: row["principals"] for row in rows} == {"a": ["hr", "sales"], "b": ["sales"]}


def test_a_source_tells_them_nothing_of_others(api: Api) -> None:
    number = api.good(give(api, "writer", "a", "zebras"), 202)["source_id"]
    fault = {"type": "SyncFailed", "message": "plan-of-the-board.doc", "at": 1.0}
    told = {"error": fault, "problems": ["plan-of-the-board.doc"], "principals": ["board", "hr"]}
    with api.runtime.ledger.write() as tx:
        tx.execute(update(sources).values(**told))
    assert "plan-of-the-board" in api.get("/sources").text
    for shown in (
        api.good(api.get(f"/sources/{number}", by="anna")),
        *api.good(api.get("/sources", by="anna"))["sources"],
    ):
        assert (shown["last_error"], shown["problems"], shown["principals"]) == (None, None, ["hr"])


def test_they_ask_of_nobody_what_is_open_to_whom(api: Api) -> None:
    whose = {"key": "principals", "match": {"value": "it"}}
    for filter in (
        {"must": [whose]},
        {"must_not": [{"should": [{"is_empty": {"key": "principals"}}]}]},
        {"must": [{"key": '"principals"[]', "match": {"any": ["it"]}}]},
        {"must": [{"key": "principals[0]", "match": {"value": "it"}}]},
        {"must": [{"nested": {"key": "principals", "filter": {"must": [{"key": "x", "match": {"value": 1}}]}}}]},
        {"min_should": {"conditions": [whose], "min_count": 1}},
    ):
        asked = {"query": "x", "filter": filter}
        assert "principals" in problem(api.post("/search", by="anna", json=asked), 422)["detail"]
        problem(api.post("/search/batch", by="anna", json={"searches": [asked]}), 422)
    allowed = {"must": [{"key": "metadata.principals", "match": {"value": "it"}}]}
    api.good(api.post("/search", by="anna", json={"query": "x", "filter": allowed}))
    api.good(api.post("/search", by="writer", json={"query": "x", "filter": {"must": [whose]}}))


def test_a_media_type_is_nothing_but_one(api: Api) -> None:
    for kind in ("text/html\r\nSet-Cookie: a=b", "text/plain\n", "texté/plain", "text", "text/plain; charset=x"):
        problem(give(api, "writer", "a", "zebras", media_type=kind), 422)
    body = {"files": [("files", ("a.txt", b"zebras", "text/plain; charset=utf-8"))]}
    number = api.good(api.post("/documents/files", **body), 202)["documents"][0]["id"]
    assert api.get(f"/documents/{number}/content").headers["content-type"].startswith("text/plain")
    problem(api.post("/documents/files", files=[("files", ("b.txt", b"x", "no type"))]), 422)
    for stored in ("text/html\r\nX: y", "text/☃", "nonsense"):  # a connector may say anything
        with api.runtime.ledger.write() as tx:
            tx.execute(update(documents).values(media_type=stored))
        found = api.get(f"/documents/{number}/content")
        assert (found.status_code, found.headers["content-type"]) == (200, "application/octet-stream")


def test_a_closed_document_stays_closed_when_it_is_deleted_for_good(api: Api) -> None:
    """It forgets its principals at once, and its source is open to everybody."""
    number = api.good(give(api, "writer", "theirs", "owls hunt", principals=["it"]), 202)["documents"][0]["id"]
    api.pipeline.run()
    api.good(api.delete(f"/documents/{number}?purge=true", by="writer"), 202)
    for _ in ("before the index knows", "and after"):
        for path in ("", "/content", "/text", "/chunks"):
            problem(api.get(f"/documents/{number}{path}", by="anna"), 404)
        problem(api.post(f"/documents/{number}/retry", by="anna"), 404)
        for status in (*STATUSES, UNREAD):
            assert api.good(api.get(f"/documents?status={status}", by="anna"))["documents"] == []
        assert api.good(api.get(f"/documents/{number}"))["document"] == "theirs"
        api.pipeline.run()
    fresh = api.good(give(api, "anna", "theirs", "otters"), 202)["documents"][0]
    assert fresh["outcome"] == "new", "its name is free again"


@pytest.fixture
def moved(api: Api) -> Callable[[str], int]:
    """``moved(text)``: a document that only ``it`` could read comes with this text, open to ``hr``; its id."""
    strict = {**FAKE_COLLECTION, "chunking": {"plugin": "fake-chunker", "options": {}}}
    api.runtime.collection("strict", strict)
    one = {"document": "plan", "text": "owls hunt at night", "principals": ["it"]}
    number = api.good(api.post("/documents", by="writer", json={"collection": "strict", "documents": [one]}), 202)
    api.pipeline.run()

    def move(text: str, **about: Any) -> int:
        again = {**one, "text": text, "principals": ["hr"], **about}
        api.good(api.post("/documents", by="writer", json={"collection": "strict", "documents": [again]}), 202)
        return number["documents"][0]["id"]

    return move


@pytest.mark.parametrize("path", ["text", "chunks"])
def test_the_old_text_of_a_document_is_not_shown_to_those_whom_the_new_one_is_open_to(api: Api, moved, path) -> None:
    number = moved("bees dance")
    problem(api.get(f"/documents/{number}/{path}", by="anna"), 404)
    assert "owls" in api.get(f"/documents/{number}/{path}").text, "who sees everything sees what is indexed"
    api.pipeline.run()
    shown = api.get(f"/documents/{number}/{path}", by="anna").text
    assert "bees" in shown and "owls" not in shown


@pytest.mark.parametrize("path", ["text", "chunks"])
def test_nor_is_it_while_the_new_one_is_in_quarantine_or_skipped(api: Api, moved, path) -> None:
    number = moved("POISON")
    api.pipeline.run()
    assert api.good(api.get(f"/documents/{number}"))["status"] == "quarantined"
    problem(api.get(f"/documents/{number}/{path}", by="anna"), 404)
    moved("  ")
    api.pipeline.run()
    assert api.good(api.get(f"/documents/{number}"))["status"] == "skipped"
    problem(api.get(f"/documents/{number}/text"), 404)
    assert api.get(f"/documents/{number}/chunks").json()["chunks"] == []


@pytest.mark.parametrize("ledger", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize(("path", "old"), [("text", "owls"), ("chunks", "owls"), ("", "it is about owls")])
def test_a_revision_that_arrives_while_a_caller_is_admitted_is_not_shown_to_it(api: Api, moved, path, old) -> None:
    """Only ``it`` may read the first revision, and only ``hr`` the second."""
    number = moved("owls hunt", principals=["it"], metadata={"about": "it is about owls"})
    api.pipeline.run()
    api.key("ida", role="reader", principals=["it"])
    arrived = []

    def arrives(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM documents" in statement and not arrived:
            arrived.append(statement)
            moved("bees dance", metadata={"about": "it is about bees"})
            api.pipeline.run()

    event.listen(api.runtime.ledger.engine, "after_cursor_execute", arrives)
    shown = api.get(f"/documents/{number}/{path}".rstrip("/"), by="ida")
    assert arrived and shown.status_code == 200 and old in shown.text and "bees" not in shown.text
    problem(api.get(f"/documents/{number}", by="ida"), 404)


def test_a_repair_does_not_open_the_old_text_to_those_whom_the_new_one_is_open_to(api: Api, moved) -> None:
    moved("POISON")
    api.pipeline.run()
    index = api.runtime.ledger.search_view("strict").index
    api.runtime.store.delete(index, filter={"must": [{"key": "document", "match": {"value": "plan"}}]})
    api.good(api.post("/collections/strict/verify", by="writer", json={"repair": True}))
    api.pipeline.run()
    asked = {"collection": "strict", "query": "owls", "use_reranker": False}
    assert [hit["text"] for hit in api.good(api.post("/search", json=asked))["hits"]] == ["owls hunt at night"]
    assert api.good(api.post("/search", by="anna", json=asked))["hits"] == []
    moved("owls hunt at night")  # its chunk is as it was
    api.pipeline.run()
    assert len(api.good(api.post("/search", by="anna", json=asked))["hits"]) == 1


def test_what_they_give_again_is_closed_to_nobody(api: Api) -> None:
    for name, principals in {"open": None, "shared": ["hr", "it"], "ours": ["hr"]}.items():
        api.good(give(api, "writer", name, "zebras", principals=principals), 202)
    for name in ("open", "shared", "ours"):
        assert api.good(give(api, "anna", name, "bees"), 202)["documents"][0]["outcome"] == "changed"
    api.good(give(api, "anna", "open", "wasps", principals=["sales"]), 202)

    def listed() -> dict[str, Any]:
        return {row["document"]: row["principals"] for row in api.good(api.get("/documents"))["documents"]}

    assert listed() == {"open": None, "shared": ["hr", "it"], "ours": ["hr", "sales"]}
    with api.runtime.ledger.write() as tx:
        tx.execute(update(sources).values(principals=["it", "sales"]))
    api.good(give(api, "anna", "open", "hornets"), 202)
    assert listed()["open"] == ["it", "sales"], "as its source says, and says from now on"


def test_a_build_that_is_not_switched_to_does_not_tell_them_why(api: Api) -> None:
    """The verdict of its gate names documents."""
    api.good(give(api, "writer", "plan-of-the-board", "owls POISON", principals=["it"]), 202)
    api.pipeline.run()
    changes = {"chunking.plugin": "fake-chunker"}
    asked = api.good(api.post("/collections/default/reindex", by="writer", json={"changes": changes}), 202)
    place = f"/operations/{asked['id']}"
    for _ in range(50):
        building.advance(api.runtime, seconds=5)
        api.pipeline.run()
        if api.good(api.get(place))["outcome"] == "failed":
            break
    for path in (place, "/operations", f"{place}/events"):
        assert "plan-of-the-board" in api.get(path).text
        found = api.get(path, by="anna")
        assert found.status_code == 200 and "plan-of-the-board" not in found.text
    result = api.good(api.get(place, by="anna"))["result"]
    assert (result["gate"]["losses"], result["documents"]["quarantined"]) == (1, 1)
