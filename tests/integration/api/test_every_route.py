"""Who may call what, over every operation of the OpenAPI document: one that is added without a rule fails here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from semantik_pipeline.api.app import create_app
from semantik_pipeline.api.problems import MEDIA_TYPE
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
from tests.integration.api.conftest import PREFIX, Api, problem
from tests.integration.conftest import FAKE_COLLECTION

#: Operations that need no key; whoever adds one says why.
OPEN = {"health_live", "health_ready"}  # orchestrators' probes have none

ROLES = ("reader", "writer", "admin")

#: What stands for the parameters of paths: things of the collection "theirs".
NUMBERS = {"source_id": "source", "document_id": "document", "operation": "operation"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    with Runtime(load_settings(data_dir=tmp_path_factory.mktemp("openapi"))) as runtime:
        yield create_app(runtime)


def operations(app: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path.removeprefix(PREFIX), operation


def test_every_operation_says_who_may_call_it(app: FastAPI) -> None:
    found = list(operations(app))
    assert len(found) > 60
    for method, path, operation in found:
        if operation["operationId"] in OPEN:
            assert "security" not in operation
        else:
            assert operation["x-role"] in ROLES and operation["security"], f"{method} {path}"


def test_every_operation_is_described(app: FastAPI) -> None:
    names = [operation["operationId"] for _, _, operation in operations(app)]
    assert len(set(names)) == len(names)
    for method, path, operation in operations(app):
        assert operation.get("summary") and operation["tags"], f"{method} {path}"
        assert {"500", "503"} <= set(operation["responses"]), f"{method} {path}"
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and path != "/health/ready":
                assert MEDIA_TYPE in answer["content"], f"{method} {path} {status}"


def test_every_body_has_an_example(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    for method, path, operation in operations(app):
        for media in operation.get("requestBody", {}).get("content", {}).values():
            names = re.findall(r"schemas/(\w+)", str(media["schema"]))
            for name in names:
                shown = schemas[name]
                fields = shown.get("properties", {}).values()
                told = "example" in shown or "examples" in shown or any("examples" in field for field in fields)
                assert told or "multipart" in str(operation["requestBody"]), f"{method} {path}: {name}"


@pytest.fixture
def theirs(make_api: Callable[..., Api], tmp_path: Any) -> tuple[Api, dict[str, int]]:
    """An API with a source, a document and an operation in the collection "theirs", and a key of each role that opens
    the collection "mine" alone."""
    from semantik_pipeline import operations as core

    api = make_api(api={"rate": "", "unauthenticated_rate": ""})
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "one.txt").write_text("Something of theirs.")
    result = api.pipeline.folder(tmp_path / "notes", collection="theirs")
    api.pipeline.folder(tmp_path / "notes", collection="mine", config=FAKE_COLLECTION)
    for role in ROLES:
        api.key(f"mine-{role}", role=role, collections=["mine"])
    with api.runtime.ledger.read() as tx:
        from semantik_pipeline.ledger.ingestion import sources

        source = sources.list_sources(tx, collection="theirs")[0]["id"]
    document = core.list_documents(api.runtime, collection="theirs", status=None)[0]["id"]
    return api, {"source": source, "document": document, "operation": result["id"]}


def filled(path: str, ids: dict[str, int]) -> str:
    return re.sub(r"{(\w+)}", lambda part: str(ids[NUMBERS[part[1]]]) if part[1] in NUMBERS else "theirs", path)


def test_nobody_without_a_key_and_no_role_below_gets_in(theirs: tuple[Api, dict[str, int]]) -> None:
    api, ids = theirs
    wrong = []
    for method, path, operation in operations(api.client.app):  # type: ignore[arg-type]
        if operation["operationId"] in OPEN:
            continue
        place = filled(path, ids)
        lower = ROLES[: ROLES.index(operation["x-role"])]
        wanted = [(None, 401), *((role, 403) for role in lower)]
        wrong += [
            f"{method} {path} as {by}: {found}"
            for by, status in wanted
            if (found := api.ask(method, place, by=by, json={}).status_code) != status
        ]
    assert not wrong, "\n".join(wrong)


#: Operations about the whole installation that show a caller of some collections what is theirs, or nothing of any.
HARMLESS = {
    "collections_list",
    "sources_list",
    "documents_list",
    "operations_list",
    "trash_list",
    "metrics",  # counts alone
    *(f"plugins_{what}" for what in ("list", "show", "manifest", "config_schema", "health")),
    *(f"{what}_list" for what in ("rerankers", "extractors", "embeddings", "chunkers", "connectors")),
}


#: Bodies that name the collection "theirs", of operations whose paths don't.
TEXT = {"query": "something", "collection": "theirs"}
BODIES: dict[str, dict[str, Any]] = {
    "collections_create": {"json": {"name": "theirs"}},
    "collections_configure": {"json": {"changes": {}}},
    "collections_rename": {"json": {"name": "mine-too"}},
    "collections_rerun": {"json": {"where": {"must": []}}},
    "collections_plan_rerun": {"json": {"where": {"must": []}}},
    "documents_push": {"json": {"collection": "theirs", "documents": [{"document": "a", "text": "b"}]}},
    "documents_upload": {"data": {"collection": "theirs"}, "files": {"files": ("a.txt", b"text", "text/plain")}},
    "documents_delete_many": {"json": {"collection": "theirs", "documents": ["one"]}},
    "documents_retry_many": {"json": {"collection": "theirs"}},
    "sources_add": {"json": {"connector": "directory", "name": "x", "collection": "theirs", "config": {"path": "/"}}},
    "sources_preview": {"json": {"connector": "directory", "collection": "theirs", "config": {"path": "/"}}},
    "search": {"json": TEXT},
    "search_batch": {"json": {"searches": [TEXT]}},
}


def test_no_key_of_one_collection_opens_another(theirs: tuple[Api, dict[str, int]]) -> None:
    """Whatever the role: what is theirs is neither shown nor changed, and what is shown is not theirs."""
    api, ids = theirs
    wrong = []
    for method, path, operation in operations(api.client.app):  # type: ignore[arg-type]
        name = operation["operationId"]
        if name in OPEN:
            continue
        body = BODIES.get(name, {"json": {}})
        found = api.ask(method, filled(path, ids), by="mine-admin", **body)
        if name in HARMLESS:
            good = found.status_code in (200, 404) and "theirs" not in found.text.replace("plugin 'theirs'", "")
        else:
            good = found.status_code == (404 if about_one(path) else 403)
        if not good:
            wrong.append(f"{method} {path} ({name}): {found.status_code} {found.text[:200]}")
    assert not wrong, "\n".join(wrong)
    left = {row["name"] for row in api.good(api.get("/collections"))["collections"]}
    assert left == {"mine", "theirs"}


def about_one(path: str) -> bool:
    """Whether it is about one source, document or operation, of whichever collection that is."""
    return any(f"{{{name}}}" in path for name in NUMBERS)


def test_a_key_of_one_collection_is_not_told_what_others_there_are(theirs: tuple[Api, dict[str, int]]) -> None:
    """What is theirs, and what is nowhere, is answered alike, whatever is asked of it."""
    api, ids = theirs
    nowhere = {"source": 7001, "document": 7002, "operation": 7003}
    wrong = []
    for method, path, _ in operations(api.client.app):  # type: ignore[arg-type]
        if "{name}" not in path and not about_one(path):
            continue
        there, gone = filled(path, ids), filled(path, nowhere).replace("theirs", "nowhere")
        answers = [api.ask(method, place, by="mine-admin", json={}) for place in (there, gone)]
        plain = [re.sub(r"\b(theirs|nowhere|[0-9a-f]{16}|700[123]|\d{1,2})\b", "X", one.text) for one in answers]
        if answers[0].status_code != answers[1].status_code or plain[0] != plain[1]:
            wrong.append(f"{method} {path}: {answers[0].text} {answers[1].text}")
    assert not wrong, "\n".join(wrong)
    later = api.key("later", role="reader", collections=["mine", "later"])
    answer = problem(api.post("/search", by=later, json={"query": "x", "collection": "later"}), 404)
    assert answer["hint"] == "Choose one of: mine."
    assert "theirs" in problem(api.post("/search", json={"query": "x", "collection": "later"}), 404)["hint"]
    name = f"push-{ids['operation']}"  # another kind than it is of
    assert "sync" in problem(api.get(f"/operations/{name}"), 404)["hint"]
    assert "sync" not in problem(api.get(f"/operations/{name}", by="mine-admin"), 404)["hint"]
