"""What configurations that come by HTTP may name.

Files, hosts and variables: admins only. The server's own: nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from semantik_pipeline import access
from tests.integration.api.conftest import PREFIX, Api, problem
from tests.integration.conftest import FAKE_COLLECTION, texts


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api(collection=FAKE_COLLECTION)


def added(api: Api, connector: str, config: dict[str, Any], **options: Any) -> Any:
    name = str(config)
    return api.post("/sources", json={"connector": connector, "name": name, "config": config}, **options)


def test_a_writer_chooses_no_options_of_a_source(api: Api, tmp_path: Path) -> None:
    config = {"path": str(texts(tmp_path / "notes", one="First things."))}
    problem(added(api, "directory", config, by="writer"), 403)
    problem(api.post("/sources/preview", by="writer", json={"connector": "directory", "config": config}), 403)
    place = f"/sources/{api.good(added(api, 'directory', config), 201)['id']}"
    problem(api.patch(place, by="writer", json={"config": {"path": "/etc"}}), 403)
    assert api.good(api.patch(place, by="writer", json={"weight": 2}))["config"] == config
    limited = api.key("limited", role="admin", collections=["default"])
    problem(added(api, "directory", {"path": "/srv"}, by=limited), 403)
    problem(api.patch(place, by=limited, json={"config": {"path": "/etc"}}), 403)


def test_no_source_is_where_the_pipeline_keeps_its_own_files(api: Api, tmp_path: Path) -> None:
    data = api.runtime.settings.data_dir
    (tmp_path / "link").symlink_to(data)
    (data / "notes").mkdir()
    (data / "admin.key").write_text("sk_something")
    (tmp_path / "file.jsonl").symlink_to(data / "plugins.json")
    home = texts(tmp_path / "notes", one="First things.")
    refused: list[tuple[str, dict[str, Any]]] = [
        ("directory", {"path": str(data)}),
        ("directory", {"path": f"{data}/notes"}),
        ("directory", {"path": f"{data}/admin.key"}),
        ("directory", {"path": f"{data}/../{data.name}", "include": ["admin.key"]}),
        ("directory", {"path": str(tmp_path)}),
        ("directory", {"path": "/"}),
        ("directory", {"path": f"{tmp_path}/link/blobs"}),
        ("jsonl", {"path": [f"{home}/one.txt", f"{data}/*.json"]}),
        ("jsonl", {"path": f"{tmp_path}/*.jsonl"}),
        ("jsonl", {"path": f"{tmp_path}/file.jsonl"}),
        ("git", {"url": str(data)}),
        ("git", {"url": f"file://{data}/notes"}),
        ("git", {"url": f"FILE://{data}/notes"}),
        ("git", {"url": f"file:{data}/notes"}),
        ("git", {"url": f"file://{str(data).replace('a', '%61')}"}),
        ("git", {"url": "https://h/r.git", "cache_dir": f"{data}/blobs"}),
        ("fake-connector", {"documents": {"a": f"{data}/admin.key"}}),
    ]
    for connector, config in refused:
        for answer in (
            added(api, connector, config),
            api.post("/sources/preview", json={"connector": connector, "config": config}),
        ):
            assert "its own files" in problem(answer, 403)["detail"], config
    source = api.good(added(api, "directory", {"path": str(home)}), 201)
    problem(api.patch(f"/sources/{source['id']}", json={"config": {"path": str(data)}}), 403)


def test_the_owner_of_the_data_folder_adds_what_the_command_adds(api: Api, tmp_path: Path) -> None:
    """Who has its key, and is here, could as well stop the server and use the command."""
    texts(tmp_path / "notes", one="First things.")
    api.keys["owner"] = access.first_key(api.runtime).read_text().strip()
    near = TestClient(api.client.app, client=("127.0.0.1", 50000), raise_server_exceptions=False)
    asked = {"connector": "directory", "name": "all", "config": {"path": str(tmp_path), "include": ["one.txt"]}}

    def answered(client: TestClient, by: str, path: str = "/sources") -> int:
        headers = {"Authorization": f"Bearer {api.keys[by]}"}
        return client.post(f"{PREFIX}{path}", json=asked, headers=headers).status_code

    assert answered(near, "admin") == 403  # another admin, perhaps behind a proxy on this machine
    assert answered(api.client, "owner") == 403  # the key, from elsewhere
    assert answered(near, "owner") == 201
    asked.pop("name")
    assert (answered(near, "owner", "/sources/preview"), answered(near, "admin", "/sources/preview")) == (200, 403)


def test_ledger_and_state_elsewhere_are_the_pipelines_own_too(make_api: Callable[..., Api], tmp_path: Path) -> None:
    places = {name: texts(tmp_path / name, one="x") for name in ("blobs", "models", "state")}
    api = make_api(
        blob={"url": f"file://{places['blobs']}"},
        models={"dir": places["models"]},
        plugin={"state_file": places["state"] / "plugins.json"},
    )
    for place in places.values():
        problem(added(api, "directory", {"path": str(place)}), 403)


def test_no_option_names_a_variable_of_the_server(api: Api) -> None:
    for name in ("SEMANTIK_DATABASE_URL", "semantik_database_url", "SEMANTIK_API_KEY"):
        web = {"start_urls": ["https://example.org/"], "token_env": name}
        assert "SEMANTIK_" in problem(added(api, "web", web), 403)["detail"]
        problem(api.post("/sources/preview", json={"connector": "web", "config": web}), 403)
        options = {"model": "m", "base_url": "https://example.org/v1", "api_key_env": name}
        problem(api.put("/plugins/openai-compatible/config", json={"config": options}), 403)
        embedding = {"plugin": "openai-compatible", "options": options}
        problem(api.post("/collections", json={"name": "x", "config": {"embedding": embedding}}), 403)
        problem(api.post("/collections", json={"name": "x", "changes": {"embedding.api_key_env": name}}), 403)


def test_a_writer_sends_nothing_from_a_collection_to_another_host(api: Api) -> None:
    api.good(api.post("/collections", by="writer", json={"name": "mine", "changes": {"chunking.max_tokens": 50}}), 201)
    for changes in (
        {"embedding": {"plugin": "openai-compatible", "options": {"base_url": "https://example.org/v1"}}},
        {"embedding.api_key_env": "OTHER_KEY"},
        {"embedding.base_url": "example.org"},
        {"embedding.options": {"trust_remote_code": True}},
        {"default_reranker": {"plugin": "cross-encoder", "options": {"trust_remote_code": True}}},
        {"extraction.chunk": [{"plugin": "keywords", "options": {"endpoint": "https://example.org"}}]},
    ):
        problem(api.patch("/collections/mine", by="writer", json={"changes": changes}), 403)
        problem(api.post("/collections/mine/reindex/plan", by="writer", json={"changes": changes}), 403)
        problem(api.post("/collections/mine/reindex", by="writer", json={"changes": changes}), 403)
        problem(api.post("/collections", by="writer", json={"name": "x", "changes": changes}), 403)
    allowed = {"changes": {"chunking.max_tokens": 60}}
    api.good(api.patch("/collections/mine", by="writer", json=allowed))


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding.model": "/srv/models/other"},
        {"embedding.model": "~/other"},
        {"embedding.model": "./other"},
        {"embedding.model": "acme/../../other"},
        {"embedding": {"model": "/srv/models/other"}},
        {"embedding.models_dir": "srv"},
        {"sparse.model": "/srv/models/other"},
        {"default_reranker": {"plugin": "cross-encoder", "options": {"model": "../other"}}},
        {"extraction.document": [{"plugin": "keywords", "options": {"stop_words_file": "etc/passwd"}}]},
        {"extraction.document": [{"plugin": "keywords", "options": {"wordLists": ["/etc/passwd"]}}]},
        {"search.postprocessors": [{"plugin": "highlight", "options": {"synonyms-path": "words"}}]},
    ],
    ids=str,
)
def test_a_writer_names_no_file_of_the_server(api: Api, changes: dict[str, Any]) -> None:
    detail = problem(api.post("/collections", by="writer", json={"name": "x", "changes": changes}), 403)["detail"]
    assert "is a path" in detail and "the role admin" in detail
    problem(api.post("/collections/default/reindex/plan", by="writer", json={"changes": changes}), 403)


def test_what_is_no_path_is_a_writers_to_set(api: Api) -> None:
    for changes in (
        {"chunking.separators": ["\n\n", "/", "~~~", ".", "... "]},
        {"extraction.document": [{"plugin": "patterns", "options": {"patterns": [{"label": "A", "pattern": "/"}]}}]},
        {"default_reranker": {"plugin": "cross-encoder", "options": {"model": "acme/path"}}},
    ):
        api.good(api.post("/collections", by="writer", json={"name": str(hash(str(changes))), "changes": changes}), 201)
