"""The trash over HTTP: whole, in pages, and of each caller's collections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semantik_pipeline import trash
from tests.integration.api.conftest import Api, problem
from tests.integration.conftest import FAKE_COLLECTION, texts

LEDGERS = ("sqlite", "postgres")

KINDS = ("collections", "sources", "documents")


@pytest.fixture
def api(make_api: Callable[..., Api], tmp_path: Path) -> Api:
    """Deleted are the collection "gone", a source of "theirs", and five documents of "theirs" and two of "mine"."""
    api = make_api(collection=FAKE_COLLECTION, retention={"trash_days": 7})
    for collection, count in (("mine", 2), ("theirs", 5), ("gone", 1)):
        names = [f"{collection}{number}" for number in range(count)]
        api.pipeline.folder(texts(tmp_path / collection, **dict.fromkeys(names, "Some words.")), collection=collection)
    api.pipeline.folder(texts(tmp_path / "left", left="Some words."), collection="theirs")
    source = next(row for row in api.good(api.get("/sources"))["sources"] if row["name"].endswith("/left"))
    for row in api.good(api.get("/documents", params={"limit": 100}))["documents"]:
        if row["source_id"] != source["id"] and row["collection"] != "gone":
            api.good(api.delete(f"/documents/{row['id']}"), 202)
    api.good(api.delete(f"/sources/{source['id']}"), 202)
    api.good(api.delete("/collections/gone"))
    api.pipeline.run()
    return api


def pages(api: Api, limit: int, *, by: str = "admin", **asked: Any) -> dict[str, list[int]]:
    """The ids of each kind, page by page; no page is larger, and none but the last one smaller."""
    found: dict[str, list[int]] = {kind: [] for kind in KINDS}
    cursor: str | None = None
    while True:
        given = {"limit": limit, **asked, **({"cursor": cursor} if cursor else {})}
        page = api.good(api.get("/trash", by=by, params=given))
        size = sum(len(page[kind]) for kind in KINDS)
        cursor = page["next_cursor"]
        assert size == limit if cursor else size <= limit
        for kind in KINDS:
            found[kind] += [row["id"] for row in page[kind]]
        if cursor is None:
            return found


def test_pages_together_are_the_whole_trash_in_its_order(api: Api) -> None:
    whole = trash.contents(api.runtime)
    ids = {kind: [row["id"] for row in whole[kind]] for kind in KINDS}
    assert {kind: len(rows) for kind, rows in ids.items()} == {"collections": 1, "sources": 1, "documents": 7}
    for limit in (1, 2, 3, 9, 100):
        assert pages(api, limit) == ids, limit


def test_each_caller_has_pages_of_what_is_theirs(api: Api) -> None:
    whole = trash.contents(api.runtime)
    mine = [row["id"] for row in whole["documents"] if row["collection"] == "mine"]
    assert pages(api, 1, by=api.key("my", role="reader", collections=["mine"])) == {
        "collections": [],
        "sources": [],
        "documents": mine,
    }
    assert pages(api, 1, collection="mine")["documents"] == mine
    problem(api.get("/trash", by="my", params={"collection": "theirs"}), 403)
    some = pages(api, 1, by=api.key("some", role="reader", principals=["anna"]))
    assert (len(some["sources"]), some["documents"]) == (1, [])


def test_a_source_in_the_trash_is_for_whose_collection_it_is(api: Api) -> None:
    [number] = pages(api, 10)["sources"]
    problem(api.post(f"/sources/{number}/restore", by=api.key("my", role="writer", collections=["mine"])), 404)
    problem(api.post("/sources/9999/restore"), 404)
    api.good(api.post(f"/sources/{number}/restore", by="writer"), 202)


def test_a_cursor_of_another_list_is_refused_or_ends(api: Api) -> None:
    problem(api.get("/trash", params={"cursor": "x"}), 422)
    assert api.good(api.get("/trash", params={"cursor": "WzksMC4wLDFd"}))["next_cursor"] is None
