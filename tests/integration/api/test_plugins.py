"""Plugins over HTTP: shown, checked, configured."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from semantik_pipeline.contracts import HealthState, HealthStatus
from semantik_pipeline.ledger.catalog import plugin_configs
from semantik_pipeline.testing import FakeChunker, FakeReranker
from tests.integration.api.conftest import Api, problem

SECRET = "sk-proj-" + "q8Zt" * 10


def mirrored(api: Api) -> dict[str, dict[str, Any]]:
    with api.runtime.ledger.read() as tx:
        return plugin_configs.read_all(tx)


def state(api: Api) -> dict[str, Any]:
    return json.loads(api.runtime.settings.state_file.read_text())


def test_the_list_says_what_there_is_and_what_is_not_loaded(make_api: Callable[..., Api]) -> None:
    api = make_api(disabled=("fake-parser",))
    found = api.good(api.get("/plugins", by="reader"))
    by_id = {one["id"]: one for one in found["plugins"]}
    assert found["total"] == len(found["plugins"]) and {"connector", "reranker", "auth"} <= set(found["types"])
    assert (by_id["fake-parser"]["enabled"], by_id["fake-parser"]["status"]) == (False, "disabled")
    assert by_id["fake-reranker"].items() >= {"type": "reranker", "enabled": True, "builtin": False}.items()
    assert by_id["recursive"]["builtin"] and by_id["recursive"]["health"] == "unknown"


def test_the_list_is_narrowed(make_api: Callable[..., Api]) -> None:
    api = make_api(disabled=("fake-parser",))
    kinds = api.good(api.get("/plugins", params={"type": "chunking"}))
    assert {one["type"] for one in kinds["plugins"]} == {"chunking"}
    off = api.good(api.get("/plugins", params={"enabled": False}))
    assert [one["id"] for one in off["plugins"]] == ["fake-parser"] and off["total"] == 1
    problem(api.get("/plugins", params={"type": "nonsense"}), 422)


def test_a_check_that_hangs_keeps_neither_the_api_nor_many_threads(
    make_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[float] = []
    over = threading.Event()

    def hang(config: object = None) -> HealthStatus:
        begun.append(time.monotonic())
        over.wait(60)
        return HealthStatus(HealthState.HEALTHY)

    monkeypatch.setattr(FakeReranker, "health_check", hang)
    api = make_api(plugin={"health_timeout": 0.3})
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(api.get, "/plugins/fake-reranker/health") for _ in range(4)]
        api.good(api.get("/health/live", by=None))
        answers = [api.good(one.result()) for one in waiting]
    over.set()
    assert {one["health"] for one in answers} == {"unhealthy"} and "0.3 s" in answers[0]["reason"]
    assert len(begun) == 1
    assert mirrored(api)["fake-reranker"]["error_message"] == answers[0]["reason"]


def test_checks_of_all_plugins_that_hang_keep_nobody_out_of_what_is_quick(
    make_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, over = threading.Event(), threading.Event()

    def hang(config: object = None) -> HealthStatus:
        begun.set()
        assert over.wait(60)
        return HealthStatus(HealthState.HEALTHY)

    monkeypatch.setattr(FakeChunker, "health_check", hang)
    api = make_api(plugin={"health_timeout": 60}, api={"threads": 1})
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(api.get, "/plugins", params={"include_health": True, "type": "chunking"})
        try:
            assert begun.wait(30)
            quick = pool.submit(api.get, "/plugins", params={"type": "chunking"}, by="reader")
            assert {one["health"] for one in api.good(quick.result(timeout=30))["plugins"]} == {"unknown"}
        finally:
            over.set()
        found = {one["id"]: one["health"] for one in api.good(waiting.result())["plugins"]}
    assert found["fake-chunker"] == "healthy"


def test_what_is_hidden_in_a_configuration_keeps_nobody_from_replacing_it(make_api: Callable[..., Api]) -> None:
    api = make_api(plugins={"openai-compatible": {"api_key": SECRET, "model": "one"}})  # typed into the file by hand
    tag = api.get("/plugins/openai-compatible").headers["etag"]
    second = {"config": {"api_key_env": "OPENAI_API_KEY", "model": "two"}}
    api.good(api.put("/plugins/openai-compatible/config", json=second, headers={"If-Match": tag}))
    late = api.put("/plugins/openai-compatible/config", json={"config": {"model": "three"}}, headers={"If-Match": tag})
    problem(late, 412)


def test_one_is_shown_with_manifest_schema_and_capabilities(api: Api) -> None:
    shown = api.get("/plugins/openai-compatible")
    assert (
        api.good(shown).items() >= {"type": "embedding", "config": {}, "origin": "semantik-pipeline 2.0.0.dev0"}.items()
    )
    assert shown.headers["etag"].startswith('"')
    assert api.good(api.get("/plugins/openai-compatible/manifest"))["display_name"]
    schema = api.good(api.get("/plugins/openai-compatible/config-schema"))
    assert schema["properties"]["api_key"]["secret"] is True
    for path in ("", "/manifest", "/config-schema", "/health"):
        assert "openai-compatible" in problem(api.get(f"/plugins/openai-compatable{path}"), 404)["hint"]


def test_a_configuration_is_put_whole(api: Api) -> None:
    first = {"model": "text-embedding-3-small", "api_key_env": "SOME_KEY"}
    found = api.put("/plugins/openai-compatible/config", json={"config": first})
    assert api.good(found)["plugin"]["config"] == first == state(api)["configs"]["openai-compatible"]
    second = {"model": "other"}
    tag = found.headers["etag"]
    api.good(api.put("/plugins/openai-compatible/config", json={"config": second}, headers={"If-Match": tag}))
    assert state(api)["configs"]["openai-compatible"] == second == mirrored(api)["openai-compatible"]["config"]
    late = api.put("/plugins/openai-compatible/config", json={"config": first}, headers={"If-Match": tag})
    assert problem(late, 412) and state(api)["configs"]["openai-compatible"] == second
    api.good(api.put("/plugins/openai-compatible/config", json={"config": {}}))
    assert state(api)["configs"] == {}


@pytest.mark.parametrize(
    "config",
    [
        {"api_key": SECRET},
        {"model": SECRET},
        {"api_key_env": SECRET},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
    ],
)
def test_a_raw_secret_is_refused_and_not_repeated(api: Api, config: dict[str, Any]) -> None:
    found = api.put("/plugins/openai-compatible/config", json={"config": config})
    said = problem(found, 422)
    assert SECRET not in found.text
    assert (
        "_env" in f"{said['detail']} {said.get('hint')}"
        or "unknown" in said["detail"].lower()
        or "headers" in said["detail"]
    )
    assert state(api)["configs"] == {}


def test_options_that_do_not_fit_are_refused(api: Api) -> None:
    said = problem(api.put("/plugins/recursive/config", json={"config": {"max_tokens": "many"}}), 422)
    assert said["type"].endswith(":PluginConfigError") and "max_tokens" in said["detail"]


@pytest.mark.parametrize(
    ("path", "name", "wanted"),
    [
        ("rerankers", "cross-encoder", "max_documents"),
        ("extractors", "patterns", "extractions"),
        ("embeddings", "dense-local", "provider_type"),
        ("connectors", "imap", "incremental"),
        ("chunkers", "recursive", None),
    ],
)
def test_what_there_is_to_choose_from(api: Api, path: str, name: str, wanted: str | None) -> None:
    found = {one["id"]: one for one in api.good(api.get(f"/{path}", by="reader"))[path]}
    assert wanted is None or wanted in found[name]["capabilities"]
    fields = {field["name"]: field for field in found[name]["config_fields"]}
    assert fields and all(field["label"] for field in fields.values())
    if name == "imap":
        assert (
            fields["password"]["secret"] and fields["host"]["required"] and found[name]["capabilities"]["incremental"]
        )
