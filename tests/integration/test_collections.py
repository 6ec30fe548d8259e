"""Collections: made, shown, configured, renamed, with what plugins and people may not say, on both ledgers."""

from __future__ import annotations

from typing import Any

import pytest

from semantik_pipeline import collections, generations
from semantik_pipeline.configurations import parse_changes
from semantik_pipeline.errors import (
    ChangedMeanwhile,
    Conflict,
    PluginConfigError,
    PluginNotFoundError,
    UsageError,
)
from semantik_pipeline.ledger.access import audit_trail
from tests.integration.conftest import FAKE_COLLECTION, texts

LEDGERS = ("sqlite", "postgres")


def made(pipeline, name: str = "notes", **options: Any) -> dict[str, Any]:
    return collections.create(pipeline.runtime, name, config=FAKE_COLLECTION, **options)


def test_one_is_made_with_its_first_generation_and_shown(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline()
    shown = made(pipeline, changes=parse_changes(["chunking.max_tokens=30", "default_reranker=fake-reranker"]))
    assert shown["config"]["chunking"]["options"]["max_tokens"] == 30
    assert shown["config"]["sparse"] == generations.DEFAULT["sparse"]
    assert [(one["state"], one["dimension"]) for one in shown["generations"]] == [("active", 64)]
    assert (shown["documents"], shown["chunks"], shown["sources"], shown["outdated"]) == ({}, 0, [], [])
    pipeline.folder(texts(tmp_path / "papers", a="alpha beta", b=""), collection="notes")
    after = collections.show(pipeline.runtime, "notes")
    assert (after["documents"], after["chunks"], after["total"]) == ({"indexed": 1, "skipped": 1}, 1, 2)
    assert [one["connector"] for one in after["sources"]] == ["directory"]
    assert [one["name"] for one in collections.list_all(pipeline.runtime)] == ["notes"]


def test_a_bare_model_finds_its_plugin(make_pipeline) -> None:
    pipeline = make_pipeline()
    config = {**FAKE_COLLECTION, "embedding": {"model": "fake"}}
    shown = collections.create(pipeline.runtime, "notes", config=config)
    assert shown["config"]["embedding"] == {"plugin": "fake-embedder", "options": {"model": "fake"}}
    with pytest.raises(UsageError, match="supports the model 'unheard-of'"):
        collections.configure(pipeline.runtime, "notes", {"embedding.model": "unheard-of"})


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"chunkin.plugin": "markdown"}, UsageError, "chunkin"),
    ({"chunking.plugin": "no-such-chunker"}, PluginNotFoundError, "no-such-chunker"),
    ({"chunking.plugin": "fake-embedder"}, PluginNotFoundError, "fake-embedder"),
    ({"chunking.max_tokns": 10}, PluginConfigError, "max_tokns"),
    ({"chunking.max_tokens": "many"}, PluginConfigError, "max_tokens"),
    ({"default_reranker": "fake-embedder"}, PluginNotFoundError, "fake-embedder"),
    ({"default_reranker.plugin": "fake-reranker", "default_reranker.odd": 1}, PluginConfigError, "odd"),
    ({"sparse.language": "klingon"}, UsageError, "klingon"),
    ({"search.rerankers": ["no-reranker"]}, PluginNotFoundError, "no-reranker"),
    ({"parsers.by_media_type.text/plain": "no-parser"}, PluginNotFoundError, "no-parser"),
    ({"parsers.unstructured.odd": 1}, PluginConfigError, "odd"),
    ({"extraction": {"enabled": True, "chunk": [{"plugin": "nobody"}]}}, PluginNotFoundError, "nobody"),
    ({"embedding.api_key": "sk-1234567890abcdef1234567890abcdef"}, PluginConfigError, "secret"),
]


def test_what_plugins_or_nobody_know_is_refused_and_nothing_changes(make_pipeline) -> None:
    pipeline = make_pipeline()
    before = made(pipeline)
    for changes, error, told in REFUSED:
        with pytest.raises(error, match=told) as raised:
            collections.configure(pipeline.runtime, "notes", changes)
        assert "1234567890" not in str(raised.value)
        with pytest.raises(error):
            made(pipeline, "other", changes=changes)
    assert collections.show(pipeline.runtime, "notes") == before
    assert len(collections.list_all(pipeline.runtime)) == 1


def test_a_change_counts_for_new_generations_and_the_reranker_at_once(make_pipeline) -> None:
    pipeline = make_pipeline()
    before = made(pipeline)
    changes = parse_changes(["chunking.max_tokens=12", "default_reranker=fake-reranker"])
    after = collections.configure(pipeline.runtime, "notes", changes)
    assert after["config"]["chunking"]["options"]["max_tokens"] == 12
    assert after["generations"] == before["generations"]
    assert after["outdated"]
    view = pipeline.runtime.ledger.search_view("notes")
    assert view.config["default_reranker"] == "fake-reranker"
    assert view.config["chunking"]["options"]["max_tokens"] == 40
    back = collections.configure(pipeline.runtime, "notes", {"chunking.max_tokens": 40, "default_reranker": None})
    assert back["config"] == before["config"]
    assert (back["etag"], back["outdated"]) == (before["etag"], [])


def test_who_read_what_is_there_no_more_changes_nothing(make_pipeline) -> None:
    pipeline = make_pipeline()
    read = made(pipeline)["etag"]
    first = collections.configure(pipeline.runtime, "notes", {"sparse.k1": 1.5}, if_match=read)
    with pytest.raises(ChangedMeanwhile, match="notes"):
        collections.configure(pipeline.runtime, "notes", {"sparse.k1": 1.6}, if_match=read)
    assert first["etag"] != read
    assert collections.show(pipeline.runtime, "notes")["config"]["sparse"]["k1"] == 1.5


def test_of_two_that_make_it_at_once_one_is_told_that_it_is_there(make_pipeline, monkeypatch) -> None:
    pipeline, other = make_pipeline(), make_pipeline()
    frozen_from = generations.frozen_from

    def overtaken(*given: Any) -> Any:
        monkeypatch.setattr(generations, "frozen_from", frozen_from)
        collections.create(other.runtime, "notes", config={**FAKE_COLLECTION, "sparse": {"k1": 1.5}})
        return frozen_from(*given)

    monkeypatch.setattr(generations, "frozen_from", overtaken)  # the other makes it between the look and the writing
    with pytest.raises(Conflict, match="notes"):
        collections.create(pipeline.runtime, "notes", config=FAKE_COLLECTION)
    assert collections.show(pipeline.runtime, "notes")["config"]["sparse"]["k1"] == 1.5
    with pipeline.runtime.ledger.read() as tx:
        assert [entry["event"] for entry in audit_trail.entries(tx, limit=9)] == ["collection.create"]


def test_names_are_unique_can_be_seen_and_change(make_pipeline) -> None:
    pipeline = make_pipeline()
    made(pipeline)
    with pytest.raises(Conflict, match="notes"):
        made(pipeline)
    for name in ("", " notes", "a/b", "a\nb", "x" * 201):
        with pytest.raises(UsageError, match="name of a collection"):
            made(pipeline, name)
    made(pipeline, "other")
    with pytest.raises(Conflict, match="other"):
        collections.rename(pipeline.runtime, "notes", "other")
    collections.rename(pipeline.runtime, "notes", "papers")
    with pytest.raises(UsageError, match="Choose one of: other, papers"):
        collections.show(pipeline.runtime, "notes")
    with pipeline.runtime.ledger.read() as tx:
        events = [entry["event"] for entry in audit_trail.entries(tx, limit=9)]
    assert events == ["collection.rename", "collection.create", "collection.create"]
