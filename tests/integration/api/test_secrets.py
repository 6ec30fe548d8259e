"""Secrets in every place where one can get by mistake: no API answer, log line or audit entry shows one."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.queue import workers
from semantik_pipeline.ledger.tables import documents, sources, work
from tests.announced import announced
from tests.integration.api.conftest import PREFIX, Api
from tests.integration.conftest import FAKE_COLLECTION, texts

#: Each of a well-known credential's shape, or under a name that says what it is.
IN_ENVIRONMENT = "sk-proj-" + "e1Nv" * 10
IN_STATE_FILE = "sk-proj-" + "s7Af" * 10
IN_PASSWORD = "correct-horse-battery"
IN_ERROR = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
ALL = (IN_ENVIRONMENT, IN_STATE_FILE, IN_PASSWORD, IN_ERROR)


@pytest.fixture
def api(make_api: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setenv("PLANTED_KEY", IN_ENVIRONMENT)
    api = make_api(collection=FAKE_COLLECTION, api={"rate": ""})
    api.pipeline.folder(texts(tmp_path / "notes", one="First things.", two="Second things.", three="Third things."))
    body = {"openai-compatible": {"api_key_env": "PLANTED_KEY"}, "cross-encoder": {"model": IN_STATE_FILE}}
    written = {**json.loads(api.runtime.settings.state_file.read_text()), "configs": body}
    api.runtime.settings.state_file.write_text(json.dumps(written))
    failed = {"type": "TransientError", "message": f"login with {IN_ERROR} failed", "at": 1.0}
    planted = {"path": "/", "password": IN_PASSWORD, "token": IN_STATE_FILE}
    with api.runtime.ledger.write() as tx:
        tx.execute(update(sources).values(config=planted, error=failed, problems=[f"{IN_ERROR} was refused"]))
        tx.execute(update(work).values(error={**failed, "stage": "chunk", "traceback": IN_ERROR}, blocked=IN_ERROR))
        for name, stage in (("two", "quarantined"), ("three", "embed")):
            mine = work.c.document_id.in_(select(documents.c.id).where(documents.c.unique_id.endswith(f"{name}.txt")))
            stuck = {"stage": stage, "indexed_epoch": None, "attempts": 1, "updated_at": 0}
            tx.execute(update(work).where(mine).values(**stuck))
        report = {"queues": ["embed"], "plugins": {"failed": [{"id": "broken", "reason": IN_ERROR}]}}
        announced(tx, "sick", host="h", pid=1, profile="gpu", report=report)
        workers.beat(tx, "sick", state="ready", activity={"refusals": {"1:embed": IN_ERROR}, "fatal": IN_ERROR})
    return api


def test_no_answer_tells_a_secret(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    told, asked = [], 0
    document = api.client.get(f"{PREFIX}/openapi.json").json()
    with caplog.at_level(logging.DEBUG):
        for path, methods in document["paths"].items():
            name = methods.get("get", {}).get("operationId")
            if name in (None, "operations_events"):
                continue
            place = re.sub(r"{(\w+_id|operation)}", "1", path.removeprefix(PREFIX)).replace("{name}", "default")
            for plugin in ("openai-compatible", "cross-encoder") if "/plugins/1" in place else ("",):
                found = api.get(place.replace("/plugins/1", f"/plugins/{plugin}"), params=_more(name))
                asked += found.status_code == 200
                told += [f"{name}: {secret}" for secret in ALL if secret in f"{found.text} {found.headers}"]
    assert not told, "\n".join(told)
    assert asked > 25
    assert not [secret for secret in ALL if secret in caplog.text]


@pytest.mark.parametrize(("document", "cause"), [("two.txt", "quarantined"), ("three.txt", "in-progress")])
def test_no_search_tells_a_secret_of_what_it_does_not_find(api: Api, document: str, cause: str) -> None:
    found = api.post("/search", json={"query": "things", "explain_document": document})
    assert api.good(found)["document_explanation"]["cause"] == cause
    assert "********" in found.text and not [secret for secret in ALL if secret in found.text]


def test_the_fleet_tells_why_without_a_secret(api: Api) -> None:
    found = api.good(api.get("/fleet"))
    (worker,) = [one for one in found["workers"] if one["id"] == "sick"]
    hidden = "********"
    assert (worker["refusals"], worker["fatal_error"]) == ({"1:embed": hidden}, hidden)
    assert worker["plugin_failures"] == {"broken": hidden}
    assert [one["reason"] for one in found["stuck"]] == [hidden]


def _more(name: str) -> dict[str, Any]:
    return {"include_health": True} if name == "plugins_list" else {}


def test_a_secret_that_is_sent_is_refused_and_not_repeated_or_kept(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    requests = [
        ("PUT", "/plugins/recursive/config", {"config": {"api_key": IN_PASSWORD}}),
        ("PUT", "/plugins/openai-compatible/config", {"config": {"model": IN_ERROR}}),
        ("POST", "/sources", {"connector": "imap", "name": "m", "config": {"host": "h", "password": IN_PASSWORD}}),
        ("POST", "/sources/preview", {"connector": "imap", "config": {"host": "h", "password": IN_PASSWORD}}),
        ("POST", "/collections", {"name": "c", "config": {"embedding": {"options": {"api_key": IN_PASSWORD}}}}),
        ("PATCH", "/collections/default", {"changes": {"embedding.api_key": IN_PASSWORD}}),
        ("POST", "/collections/default/reindex/plan", {"changes": {"embedding.api_key": IN_PASSWORD}}),
        ("POST", "/keys", {"name": "k", "role": IN_PASSWORD}),
    ]
    with caplog.at_level(logging.DEBUG):
        found = [(path, api.ask(method, path, json=body)) for method, path, body in requests]
    assert {one.status_code for _, one in found} == {422}
    assert not [path for path, one in found for secret in ALL if secret in one.text]
    with api.runtime.ledger.read() as tx:
        trail = str(audit_trail.entries(tx, limit=100))
    assert not [secret for secret in ALL if secret in trail or secret in caplog.text]
