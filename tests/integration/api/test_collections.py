"""Collections over HTTP: made, configured, built anew, deleted, brought back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline import maintenance
from semantik_pipeline.api import etags
from semantik_pipeline.ledger.access import audit_trail
from tests.integration.api.conftest import Api, problem
from tests.integration.conftest import FAKE_COLLECTION, texts


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api(collection=FAKE_COLLECTION, retention={"trash_days": 7})


def make(api: Api, name: str = "papers", **more: Any) -> dict[str, Any]:
    return api.good(api.post("/collections", by="writer", json={"name": name, **more}), 201)


def finish(api: Api) -> None:
    for _ in range(6):
        maintenance.tick(api.runtime)
        api.pipeline.run()


def test_a_collection_is_made_shown_and_listed(api: Api) -> None:
    made = make(api, changes={"chunking.max_tokens": 30})
    assert made["config"]["chunking"]["options"]["max_tokens"] == 30 and made["outdated"] == []
    shown = api.get("/collections/papers", by="reader")
    assert api.good(shown) == made and shown.headers["etag"] == f'"{made["etag"]}"'
    assert [one["name"] for one in api.good(api.get("/collections"))["collections"]] == ["papers"]
    problem(api.post("/collections", json={"name": "papers"}), 409)
    problem(api.get("/collections/none"), 404)


@pytest.mark.parametrize("name", ["заметки", "日本語 notes", "a?b#c"])
def test_a_collection_may_be_called_anything_that_can_be_seen(api: Api, name: str) -> None:
    made = api.post("/collections", json={"name": name})
    place = made.headers["location"].removeprefix("/api/v2")
    assert api.good(made, 201)["name"] == api.good(api.get(place))["name"] == name


@pytest.mark.parametrize(
    ("config", "status"),
    [
        ({"chunker": {}}, 422),
        ({"chunking": {"plugin": "nothing"}}, 404),
        ({"chunking": {"plugin": "recursive", "options": {"max_tokens": "many"}}}, 422),
        ({"chunking": {"plugin": "recursive", "options": {"x": "a\0b"}}}, 422),
    ],
)
def test_what_plugins_do_not_take_is_refused_when_it_is_set(api: Api, config: dict[str, Any], status: int) -> None:
    problem(api.post("/collections", json={"name": "papers", "config": config}), status)
    problem(api.get("/collections/papers"), 404)


def test_a_configuration_is_changed_only_as_it_was_read(api: Api) -> None:
    tag = make(api)["etag"]
    change = {"changes": {"chunking.max_tokens": 30}}
    changed = api.patch("/collections/papers", json=change, headers={"If-Match": f'"{tag}"'})
    assert api.good(changed)["config"]["chunking"]["options"]["max_tokens"] == 30
    assert api.good(changed)["outdated"] and changed.headers["etag"] != f'"{tag}"'
    late = api.patch(
        "/collections/papers", json={"changes": {"chunking.max_tokens": 9}}, headers={"If-Match": f'"{tag}"'}
    )
    assert problem(late, 412)["type"].endswith(":ChangedMeanwhile")
    assert api.good(api.get("/collections/papers"))["config"]["chunking"]["options"]["max_tokens"] == 30


IF_MATCH = [
    ('"NOW"', 200),
    ('"other", "NOW"', 200),
    ('"other" ,"NOW" , "more"', 200),
    ("*", 200),
    ("NOW", 200),
    ('W/"NOW"', 412),  # a weak tag matches nothing
    ('W/"NOW", "other"', 412),
    ('W/"other", "NOW"', 200),
    ('"other"', 412),
    ('"a,b"', 412),
    ('"NOW" "other"', 422),
    ('"NOW', 422),
    ("", 422),
]


def test_what_if_match_may_say(api: Api) -> None:
    for number, (header, status) in enumerate(IF_MATCH):
        tag = make(api, f"papers{number}")["etag"]
        said = {"If-Match": header.replace("NOW", tag)}
        change = {"changes": {"chunking.max_tokens": 30}}
        found = api.patch(f"/collections/papers{number}", json=change, headers=said)
        assert found.status_code == status, (header, found.text)
        assert (api.good(api.get(f"/collections/papers{number}"))["etag"] != tag) is (status == 200), header
        plugin = api.get("/plugins/fake-embedder").headers["etag"].strip('"')
        said = {"If-Match": header.replace("NOW", plugin)}
        found = api.put("/plugins/fake-embedder/config", json={"config": {"model": f"m{number}"}}, headers=said)
        assert found.status_code == status, (header, found.text)


TAG = st.text(st.characters(codec="ascii", exclude_characters='"', min_codepoint=0x21, max_codepoint=0x7E), max_size=8)


@given(st.lists(st.tuples(st.booleans(), TAG), min_size=1), st.sampled_from([",", ", ", " ,\t", ",,"]))
def test_a_list_of_tags_is_read_as_it_is_written(tags: list[tuple[bool, str]], between: str) -> None:
    header = between.join(f'{"W/" if weak else ""}"{tag}"' for weak, tag in tags)
    assert etags.wanted(header) == {tag for weak, tag in tags if not weak}


def test_an_index_is_built_anew_and_taken_back(api: Api, tmp_path: Path) -> None:
    api.pipeline.folder(texts(tmp_path / "n", one="First things. " * 20, two="Second things."), collection="papers")
    plan = api.good(api.post("/collections/papers/reindex/plan", json={"changes": {"chunking.max_tokens": 20}}))
    assert plan["documents"] == 2 and "chunk" in plan["stages_changed"]
    begun = api.post("/collections/papers/reindex", by="writer", json={"changes": {"chunking.max_tokens": 20}})
    operation = api.good(begun, 202)
    assert begun.headers["location"].endswith(f"/operations/{operation['id']}")
    second = problem(api.post("/collections/papers/reindex", json={"force": True}), 409)
    assert operation["operation"] in f"{second['detail']} {second.get('hint')}"
    finish(api)
    assert api.good(api.get(f"/operations/{operation['id']}"))["outcome"] == "succeeded"
    after = api.good(api.get("/collections/papers"))
    assert {one["state"] for one in after["generations"]} == {"active", "kept"}
    back = api.good(api.post("/collections/papers/rollback"))
    assert back["previous_generation"] == after["active_generation"] != back["generation"]
    problem(api.post("/collections/papers/rerun", json={"where": {"must": [{"key": "nothing"}]}}), 422)
    where = {"must": [{"key": "status", "match": {"value": "indexed"}}]}
    api.good(api.post("/collections/papers/rerun", json={"where": where}), 202)


def test_a_rerun_is_foretold(api: Api, tmp_path: Path) -> None:
    api.pipeline.folder(texts(tmp_path / "n", one="First things.", two="Second things."), collection="papers")
    found = {"where": {"must": [{"key": "status", "match": {"value": "indexed"}}]}}
    plan = api.good(api.post("/collections/papers/rerun/plan", by="writer", json=found))
    assert (plan["documents"], len(plan["examples"])) == (2, 2)
    none = {"where": {"must": [{"key": "status", "match": {"value": "quarantined"}}]}}
    assert api.good(api.post("/collections/papers/rerun/plan", json=none))["documents"] == 0
    problem(api.post("/collections/papers/rerun/plan", json={"where": {"must": [{"key": "nothing"}]}}), 422)
    problem(api.post("/collections/none/rerun/plan", json=found), 404)


def damaged(api: Api, folder: Path, count: int) -> None:
    """A collection of so many documents, none of which has a point any more."""
    contents = {f"d{number}": f"Thing {number}." for number in range(count)}
    api.pipeline.folder(texts(folder, **contents), collection="papers")
    index = api.runtime.ledger.search_view("papers").index
    points, _ = api.runtime.store.scroll(index, fields=[], limit=100)
    assert len(points) == count
    api.runtime.store.delete(index, ids=[point.id for point in points])


def test_an_index_is_compared_and_mended(api: Api, tmp_path: Path) -> None:
    damaged(api, tmp_path / "n", 2)
    problem(api.post("/collections/papers/verify", by="reader"), 403)
    found = api.good(api.post("/collections/papers/verify", by="writer"))
    assert (found["clean"], found["missing"], found["operation"], found["next_cursor"]) == (False, 2, None, None)
    assert len(found["examples"]) == 2
    mended = api.good(api.post("/collections/papers/verify", json={"repair": True}))
    assert (mended["missing"], mended["operations"]) == (2, [mended["operation"]])
    api.pipeline.run()
    assert api.good(api.get(f"/operations/{mended['operation']}"))["outcome"] == "succeeded"
    assert api.good(api.post("/collections/papers/verify"))["clean"] is True
    with api.runtime.ledger.read() as tx:
        told = [row for row in audit_trail.entries(tx, limit=50) if row["event"] == "collection.repair"]
    assert [(row["actor"], row["subject"]) for row in told] == [("key:admin", "papers")]
    problem(api.post("/collections/papers/verify", json={"cursor": "x"}), 422)
    problem(api.post("/collections/none/verify"), 404)


def test_an_index_is_compared_only_if_it_has_lost_points(api: Api, tmp_path: Path) -> None:
    damaged(api, tmp_path / "n", 2)
    lost = api.good(api.post("/collections/papers/verify", json={"repair": True, "only_if_incomplete": True}))
    assert (lost["missing"], len(lost["operations"])) == (2, 1)
    api.pipeline.run()
    again = api.good(api.post("/collections/papers/verify", json={"repair": True, "only_if_incomplete": True}))
    assert (again["documents"], again["operations"], again["next_cursor"]) == (0, [], None)


def test_a_comparison_in_parts_finds_what_one_in_one_finds(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged(api, tmp_path / "n", 5)
    whole = api.good(api.post("/collections/papers/verify"))
    monkeypatch.setattr("semantik_pipeline.ledger.generations.comparison.SLICE", 2)
    monkeypatch.setattr("semantik_pipeline.api.routes.collections.COMPARED", 0.0)
    parts, cursor = [], None
    while cursor is not None or not parts:
        parts.append(api.good(api.post("/collections/papers/verify", json={"cursor": cursor})))
        cursor = parts[-1]["next_cursor"]
    assert len(parts) > 2
    for name in ("documents", "points_expected", "points_found", "missing", "orphaned", "stale", "pending"):
        assert sum(part[name] for part in parts) == whole[name], name
    assert sorted(name for part in parts for name in part["examples"]) == sorted(whole["examples"])


def test_a_collection_is_renamed_deleted_and_brought_back(api: Api) -> None:
    make(api, "old")
    make(api, "other")
    problem(api.post("/collections/old/rename", json={"name": "other"}), 409)
    assert api.good(api.post("/collections/old/rename", json={"name": "new"}))["previous_name"] == "old"
    problem(api.delete("/collections/new", by="writer"), 403)
    assert api.good(api.delete("/collections/new"))["purged"] is False
    problem(api.get("/collections/new"), 404)
    problem(api.post("/collections", json={"name": "new"}), 409)
    assert [one["name"] for one in api.good(api.get("/trash"))["collections"]] == ["new"]
    assert api.good(api.post("/collections/new/restore"))["name"] == "new"
    api.good(api.get("/collections/new"))
    assert api.good(api.delete("/collections/new", params={"purge": True}))["purged"] is True
    finish(api)
    assert api.good(api.get("/trash"))["collections"] == []
    problem(api.post("/collections/new/restore"), 404)


def test_collections_come_in_pages_of_those_that_the_caller_may_see(api: Api) -> None:
    for name in ("a", "b", "c"):
        make(api, name)
    first = api.good(api.get("/collections", params={"limit": 2}))
    rest = api.good(api.get("/collections", params={"limit": 2, "cursor": first["next_cursor"]}))
    assert [one["name"] for page in (first, rest) for one in page["collections"]] == ["a", "b", "c"]
    assert rest["next_cursor"] is None
    limited = api.key("ac", role="writer", collections=["a", "c"])
    assert [one["name"] for one in api.good(api.get("/collections", by=limited))["collections"]] == ["a", "c"]
    problem(api.post("/collections", by=limited, json={"name": "d"}), 403)
    problem(api.post("/collections/a/rename", by=limited, json={"name": "d"}), 403)
