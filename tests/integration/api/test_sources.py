"""Sources over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semantik_pipeline import maintenance, sources
from semantik_pipeline.errors import ChangedMeanwhile
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.ingestion import sources as ledger
from tests.integration.api.conftest import Api, problem
from tests.integration.conftest import FAKE_COLLECTION, texts

LEDGERS = ("sqlite", "postgres")


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api(collection=FAKE_COLLECTION, retention={"trash_days": 7})


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return texts(tmp_path / "notes", one="First things.", two="Second things.")


def add(api: Api, notes: Path, **more: Any) -> dict[str, Any]:
    new = {"connector": "directory", "name": "notes", "config": {"path": str(notes)}, **more}
    return api.good(api.post("/sources", json=new), 201)


def finish(api: Api) -> None:
    """Let maintenance and stages do all that there is to do."""
    for _ in range(3):
        maintenance.tick(api.runtime)
        api.pipeline.run()


def test_a_source_is_added_shown_listed_and_synced(api: Api, notes: Path) -> None:
    added = add(api, notes, schedule={"cron": "0 3 * * *", "timezone": "Europe/Berlin"}, weight=2)
    assert added["schedule"] == {"cron": "0 3 * * *", "timezone": "Europe/Berlin"} and added["state"] == "idle"
    assert api.good(api.get(f"/sources/{added['id']}", by="reader")) == added
    assert [one["id"] for one in api.good(api.get("/sources"))["sources"]] == [added["id"]]
    begun = api.post(f"/sources/{added['id']}/sync", by="writer")
    operation = api.good(begun, 202)
    assert begun.headers["location"] == f"/api/v2/operations/{operation['id']}"
    assert api.good(api.post(f"/sources/{added['id']}/sync"), 202) == operation  # a source never overlaps itself
    api.pipeline.run()
    assert api.good(api.get(f"/sources/{added['id']}"))["documents"] == 2
    assert api.good(api.get(f"/operations/{operation['id']}"))["outcome"] == "succeeded"
    with api.runtime.ledger.read() as tx:
        actors = {row["event"]: row["actor"] for row in audit_trail.entries(tx, limit=20)}
    assert (actors["source.add"], actors["source.sync"]) == ("key:admin", "key:writer")


def test_what_makes_no_sense_is_refused(api: Api, notes: Path) -> None:
    add(api, notes)
    again = {"connector": "directory", "name": "notes", "config": {"path": str(notes)}}
    problem(api.post("/sources", json=again), 409)
    problem(api.post("/sources", json={**again, "connector": "nothing", "name": "x"}), 404)
    problem(api.post("/sources", json={**again, "name": "x", "config": {"pth": "/"}}), 422)
    problem(api.post("/sources", json={**again, "name": "x", "schedule": {"every": "often"}}), 422)
    problem(api.post("/sources", json={**again, "name": "x", "schedule": {"every": "1h", "cron": "0 3 * * *"}}), 422)
    problem(api.post("/sources", json={**again, "name": "a\0b"}), 422)
    problem(api.post("/sources", json={**again, "name": "x", "config": {"path": "a\0b"}}), 422)
    secret = api.post(
        "/sources", json={"connector": "imap", "name": "m", "config": {"host": "h", "password": "hunter22"}}
    )
    assert problem(secret, 422) and "hunter22" not in secret.text
    problem(api.get("/sources/99"), 404)
    problem(api.get("/sources", params={"cursor": "nonsense"}), 422)


def test_a_source_is_changed_paused_resumed_and_removed(api: Api, notes: Path) -> None:
    place = f"/sources/{add(api, notes)['id']}"
    changed = api.good(api.patch(place, json={"name": "mine", "weight": 3, "schedule": {"every": "15m"}}))
    assert (changed["name"], changed["weight"], changed["schedule"]) == ("mine", 3, {"every": 900})
    assert api.good(api.patch(place, json={"weight": 1}))["schedule"] == {"every": 900}
    assert api.good(api.patch(place, json={"schedule": None}))["schedule"] is None
    limited = api.key("limited", role="writer", principals=["anna"])
    problem(api.patch(place, by=limited, json={"principals": None}), 403)  # it could open everything to itself
    assert api.good(api.patch(place, json={"principals": ["anna"]}))["principals"] == ["anna"]
    assert api.good(api.patch(place, json={"principals": None}))["principals"] is None
    paused = api.good(api.post(f"{place}/pause", json={"reason": "it moves"}))
    assert (paused["state"], paused["paused_reason"]) == ("paused", "it moves")
    assert "it moves" in problem(api.post(f"{place}/sync"), 409)["detail"]
    assert api.good(api.post(f"{place}/resume"))["state"] == "idle"
    api.good(api.post(f"{place}/sync"), 202)
    api.pipeline.run()
    api.good(api.delete(place), 202)
    problem(api.patch(place, json={"weight": 2}), 409)
    finish(api)
    problem(api.get(place), 404)
    assert [one["name"] for one in api.good(api.get("/trash", by="reader"))["sources"]] == ["mine"]
    api.good(api.post(f"{place}/restore"), 202)
    finish(api)
    assert api.good(api.get(place))["documents"] == 2


def test_a_name_that_is_taken_is_refused_whoever_had_it_first(api: Api, notes: Path) -> None:
    place, other = f"/sources/{add(api, notes)['id']}", f"/sources/{add(api, notes, name='other')['id']}"
    assert "already has a source 'notes'" in problem(api.patch(other, json={"name": "notes"}), 409)["detail"]
    assert api.good(api.patch(other, json={"name": "other", "weight": 2}))["weight"] == 2  # its own is free
    api.good(api.delete(place), 202)
    finish(api)
    assert "in the trash" in problem(api.patch(other, json={"name": "notes"}), 409)["detail"]
    assert api.good(api.get(other))["name"] == "other"


def test_a_source_is_changed_only_as_it_was_read(api: Api, notes: Path) -> None:
    added = api.post("/sources", json={"connector": "directory", "name": "notes", "config": {"path": str(notes)}})
    place, tag = f"/sources/{api.good(added, 201)['id']}", added.headers["etag"]
    shown = api.get(place, by="reader")
    assert shown.headers["etag"] == tag == f'"{api.good(shown)["etag"]}"'
    api.good(api.post(f"{place}/sync"), 202)
    api.pipeline.run()
    assert api.get(place).headers["etag"] == tag  # what it has done is no configuration
    changed = api.patch(place, json={"weight": 2}, headers={"If-Match": tag})
    assert api.good(changed)["weight"] == 2 and changed.headers["etag"] != tag
    late = api.patch(place, json={"config": {"path": "/elsewhere"}}, headers={"If-Match": tag})
    assert problem(late, 412)["type"].endswith(":ChangedMeanwhile")
    assert api.good(api.get(place))["config"] == {"path": str(notes)}
    for change in ({"name": "mine"}, {"principals": ["anna"]}, {"schedule": {"every": "1h"}}):
        before = api.get(place).headers["etag"]
        assert api.patch(place, json=change, headers={"If-Match": before}).headers["etag"] != before


def test_who_is_overtaken_between_look_and_writing_changes_nothing(api: Api, notes: Path) -> None:
    added = add(api, notes)
    with api.runtime.ledger.read() as tx:
        read = ledger.get_source(tx, added["id"])
    sources.change(api.runtime, read, weight=2)
    with pytest.raises(ChangedMeanwhile, match="notes"):
        sources.change(api.runtime, read, if_match=added["etag"], weight=3)
    assert api.good(api.get(f"/sources/{added['id']}"))["weight"] == 2


def test_a_collection_that_comes_with_its_first_source_is_noted(api: Api, notes: Path) -> None:
    add(api, notes, collection="fresh")
    with api.runtime.ledger.read() as tx:
        told = [(row["event"], row["subject"], row["actor"]) for row in audit_trail.entries(tx, limit=20)]
    assert ("collection.create", "fresh", "key:admin") in told


def test_sources_come_in_pages(api: Api, notes: Path) -> None:
    for number in range(5):
        add(api, notes, name=f"n{number}", collection=f"c{number % 2}")
    names, cursor = [], None
    for _ in range(3):
        page = api.good(api.get("/sources", params={"limit": 2, **({"cursor": cursor} if cursor else {})}))
        names += [one["name"] for one in page["sources"]]
        cursor = page["next_cursor"]
    assert names == ["n0", "n2", "n4", "n1", "n3"] and cursor is None
    limited = api.key("c1", role="reader", collections=["c1"])
    assert [one["name"] for one in api.good(api.get("/sources", by=limited))["sources"]] == ["n1", "n3"]
    problem(api.get("/sources", by=limited, params={"collection": "c0"}), 403)
