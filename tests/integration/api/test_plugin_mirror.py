"""What is done to plugins: the state file, the ledger's mirror of it, the audit trail, on both ledgers."""

from __future__ import annotations

import json
from typing import Any

from semantik_pipeline import plugin_admin
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.catalog import plugin_configs
from tests.announced import announced
from tests.integration.api.conftest import Api, problem

LEDGERS = ("sqlite", "postgres")


def mirrored(api: Api) -> dict[str, dict[str, Any]]:
    with api.runtime.ledger.read() as tx:
        return plugin_configs.read_all(tx)


def told(api: Api) -> list[tuple[str, str, str]]:
    with api.runtime.ledger.read() as tx:
        return [(row["actor"], row["event"], row["subject"]) for row in audit_trail.entries(tx, limit=20)]


def state(api: Api) -> dict[str, Any]:
    return json.loads(api.runtime.settings.state_file.read_text())


def test_health_is_asked_noted_and_shown_from_then_on(api: Api) -> None:
    asked = api.good(api.get("/plugins", params={"type": "reranker", "include_health": True}))
    health = {one["id"]: one["health"] for one in asked["plugins"]}
    assert set(health.values()) <= {"healthy", "unhealthy", "unknown"}
    shown = api.good(api.get("/plugins", params={"type": "reranker"}))
    assert {one["id"]: one["health"] for one in shown["plugins"]} == health
    row = mirrored(api)["fake-reranker"]
    assert row["health_status"] == health["fake-reranker"] and row["last_health_check"] > 0


def test_disabling_and_enabling_write_the_file_the_mirror_and_the_trail(api: Api) -> None:
    done = api.good(api.post("/plugins/fake-parser/disable"))
    assert done["plugin"]["enabled"] is False and state(api)["disabled_ids"] == ["fake-parser"]
    assert mirrored(api)["fake-parser"]["enabled"] is False
    assert told(api)[0] == ("key:admin", "plugin.disable", "fake-parser")
    assert api.good(api.post("/plugins/fake-parser/enable"))["plugin"]["status"] == "loaded"
    assert mirrored(api)["fake-parser"]["enabled"] is True and state(api)["disabled_ids"] == []
    problem(api.post("/plugins/none/disable"), 404)


def test_a_change_says_who_still_runs_the_old_state(api: Api) -> None:
    digest = api.runtime.host.state.digest
    report = {"plugin_state": {"revision": 0, "hash": digest}, "heartbeat": 60.0}
    with api.runtime.ledger.write() as tx:
        announced(tx, "old", host="h", pid=1, profile="all", report=report)
    done = api.good(api.post("/plugins/fake-parser/disable"))["workers"]
    assert (done["current"], done["outdated"], done["api_current"]) == ([], ["old"], False)
    report = {
        "plugin_state": {"revision": 1, "hash": api.runtime.settings.state_file and _digest(api)},
        "heartbeat": 60.0,
    }
    with api.runtime.ledger.write() as tx:
        announced(tx, "new", host="h", pid=2, profile="all", report=report)
    again = api.good(api.post("/plugins/fake-parser/disable"))["workers"]
    assert (again["current"], again["outdated"], again["revision"]) == (["new"], ["old"], done["revision"])


def _digest(api: Api) -> str:
    from semantik_pipeline.plugins.state import read_state

    return read_state(api.runtime.settings.state_file).digest


def test_a_crash_between_the_two_writes_is_mended_from_the_file(api: Api) -> None:
    api.good(api.post("/plugins/fake-parser/disable"))
    body = {**state(api), "disabled_ids": ["fake-chunker"], "configs": {"recursive": {"max_tokens": 50}}}
    api.runtime.settings.state_file.write_text(json.dumps(body))
    plugin_admin.mirror(api.runtime)
    rows = mirrored(api)
    assert [name for name, row in rows.items() if not row["enabled"]] == ["fake-chunker"]
    assert rows["recursive"]["config"] == {"max_tokens": 50}
    before = rows["fake-embedder"]["updated_at"]
    plugin_admin.mirror(api.runtime)
    assert mirrored(api)["fake-embedder"]["updated_at"] == before  # what is as it was is left alone
