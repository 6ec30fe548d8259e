"""The trash: what people delete vanishes at once, comes back as it was, and goes for good without leaving anything
behind, on both ledgers."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from semantik_pipeline import collections, generations, maintenance, operations, sources, trash
from semantik_pipeline.errors import Conflict, UsageError
from semantik_pipeline.ledger.documents import document_reports
from semantik_pipeline.ledger.ingestion import unfinished
from semantik_pipeline.ledger.operations import holds, lifecycle
from semantik_pipeline.ledger.retention import purging, trash_contents
from semantik_pipeline.ledger.retention import trash as ledger
from semantik_pipeline.ledger.tables import chores, documents, embeddings, metadata
from semantik_pipeline.ledger.tables import collections as collection_table
from semantik_pipeline.ledger.tables import sources as source_table
from semantik_pipeline.ledger.tables import work as units
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.stages import holding
from semantik_pipeline.verification import verify
from tests.integration.conftest import FAKE_COLLECTION, texts
from tests.integration.test_sources import added, count, shown, texts_of

LEDGERS = ("sqlite", "postgres")
KEPT = {"retention": {"trash_days": 7, "cache_days": 0, "blobs_days": 0}}
DAY = 86400.0


def hits(pipeline, text: str, collection: str = "default") -> list[tuple[str, str, float]]:
    answer = search(pipeline.runtime, SearchQuery(text=text, collection=collection, rerank=False))
    return [(hit.document, hit.text, round(hit.score, 6)) for hit in answer.hits]


def drop(pipeline, *names: str, **options: Any) -> None:
    with pipeline.runtime.ledger.read() as tx:
        found = document_reports.find_documents(tx, list(names))
    operations.begin_drop(pipeline.runtime, found, **options)
    pipeline.run()


def restore(pipeline, name: str) -> dict[str, Any]:
    with pipeline.runtime.ledger.read() as tx:
        found = trash_contents.find_documents(tx, [name])
    operation = trash.restore_documents(pipeline.runtime, found)
    pipeline.run()
    return pipeline.result(operation)


def later(pipeline, days: float) -> None:
    """Let everything in the trash, and each stored body, be so many days older, and a sweep be due."""
    for table in (documents, source_table, collection_table):
        with pipeline.runtime.ledger.write() as tx:
            aged = update(table).where(table.c.trashed_at > 0)
            tx.execute(aged.values(trashed_at=table.c.trashed_at - days * DAY))
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(embeddings).values(created_at=embeddings.c.created_at - days * DAY))
        tx.execute(update(chores).values(done_at=0))
    for path in bodies(pipeline):
        os.utime(path, (time.time() - days * DAY,) * 2)


def ticks(pipeline, number: int = 3) -> None:
    for _ in range(number):
        while maintenance.tick(pipeline.runtime):
            pass
        pipeline.run()


def bodies(pipeline) -> list[Path]:
    folder = Path(pipeline.runtime.settings.blob_url)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def embedded(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def left(pipeline) -> dict[str, int]:
    """Rows of every table that holds anything, but for what tells of the past."""
    past = ("audit", "chores", "workers", "alembic_version")
    rows = {name: count(pipeline, table) for name, table in metadata.tables.items() if name not in past}
    return {name: number for name, number in rows.items() if number}


def in_trash(pipeline) -> dict[str, list[str]]:
    found = trash.contents(pipeline.runtime)
    names = {"collections": "name", "sources": "name", "documents": "document"}
    return {kind: [row[name] for row in found[kind]] for kind, name in names.items() if found[kind]}


def logged(tmp_path: Path) -> dict[str, Any]:
    """Options of plugins that let the embedder note what it embeds."""
    return {"fake-embedder": {"log_path": str(tmp_path / "embedded")}}


# -- documents --------------------------------------------------------------------------------------------------------


def test_a_dropped_document_vanishes_at_once_and_comes_back_as_it_was(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline(plugins=logged(tmp_path), **KEPT)
    pipeline.folder(texts(tmp_path / "papers", a="alpha beta gamma", b="delta epsilon", c=""))
    before, stored, computed = hits(pipeline, "alpha gamma"), bodies(pipeline), embedded(tmp_path / "embedded")
    rows = operations.list_documents(pipeline.runtime, collection=None, status=None)
    assert computed == 2
    drop(pipeline, "a.txt", "c.txt")
    assert [name for name, _, _ in hits(pipeline, "alpha gamma")] == [name for name, _, _ in before if "b.txt" in name]
    assert pipeline.runtime.host.call(pipeline.runtime.store.count, _index(pipeline)) == 1
    assert sorted(name[-5:] for name in in_trash(pipeline)["documents"]) == ["a.txt", "c.txt"]
    later(pipeline, 6)  # a sweep of everything that nothing refers to
    ticks(pipeline, 1)
    assert bodies(pipeline) == stored
    done = restore(pipeline, "a.txt")
    assert (done["outcome"], restore(pipeline, "c.txt")["outcome"]) == ("succeeded", "succeeded")
    assert hits(pipeline, "alpha gamma") == before
    assert embedded(tmp_path / "embedded") == computed
    after = operations.list_documents(pipeline.runtime, collection=None, status=None)
    for row in (*rows, *after):
        row.pop("revision"), row.pop("changed_at")
    assert after == rows
    assert in_trash(pipeline) == {}
    assert verify(pipeline.runtime).clean


def _index(pipeline) -> str:
    (name,) = pipeline.runtime.host.call(pipeline.runtime.store.list_indexes)
    return name


def test_when_the_window_is_over_nothing_of_it_is_left_but_what_others_share(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline(**KEPT)
    papers = texts(tmp_path / "papers", a="alpha beta", same="delta epsilon")
    pipeline.folder(papers)
    pipeline.folder(texts(tmp_path / "other", same="delta epsilon"), collection="other")
    drop(pipeline, f"{papers}/a.txt", f"{papers}/same.txt")
    assert count(pipeline, embeddings) == 2
    later(pipeline, 8)
    ticks(pipeline)
    assert in_trash(pipeline) == {}
    assert count(pipeline, embeddings) == 1
    assert sorted(path.parent.parent.name for path in bodies(pipeline)) == ["parsed", "raw"]
    assert len(hits(pipeline, "delta", "other")) == 1
    with pipeline.runtime.ledger.read() as tx:
        said = tx.execute(select(documents.c.metadata, documents.c.title).where(documents.c.deleted_at.is_not(None)))
        assert [tuple(row) for row in said] == [({}, None)] * 2
    with pytest.raises(UsageError, match="in the trash"):
        restore(pipeline, "a.txt")


def test_purged_at_once_it_never_is_in_the_trash(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline(**KEPT)
    pipeline.folder(texts(tmp_path / "papers", a="alpha beta", b="gamma"))
    drop(pipeline, "a.txt", purge=True)
    drop(pipeline, "b.txt")
    assert [name[-5:] for name in in_trash(pipeline)["documents"]] == ["b.txt"]
    assert count(pipeline, embeddings) == 1
    drop(pipeline, "b.txt", purge=True)  # what is in the trash too
    assert in_trash(pipeline) == {}
    assert count(pipeline, embeddings) == 0


def test_what_vanished_at_its_source_is_no_trash_and_a_sync_revives_what_is_there(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline(**KEPT)
    papers = texts(tmp_path / "papers", a="alpha beta", b="gamma")
    pipeline.folder(papers)
    (papers / "a.txt").unlink()
    drop(pipeline, "b.txt")
    done = pipeline.folder(papers)
    assert (done["documents"]["deleted"], done["documents"]["new"]) == (1, 1)
    assert in_trash(pipeline) == {}
    assert pipeline.stages() == {"b.txt": "indexed"}
    later(pipeline, 100)
    ticks(pipeline)
    assert pipeline.stages() == {"b.txt": "indexed"}


def test_what_is_restored_before_its_points_are_gone_is_whole(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline(**KEPT)
    pipeline.folder(texts(tmp_path / "papers", a="alpha beta"))
    before = hits(pipeline, "alpha")
    with pipeline.runtime.ledger.read() as tx:
        operations.begin_drop(pipeline.runtime, document_reports.find_documents(tx, ["a.txt"]))
    assert hits(pipeline, "alpha") == []
    restore(pipeline, "a.txt")
    assert hits(pipeline, "alpha") == before
    assert verify(pipeline.runtime).clean


# -- sources ----------------------------------------------------------------------------------------------------------


def synced(pipeline, name: str = "fake", number: int = 4, **options: Any) -> dict[str, Any]:
    source = added(pipeline, name, documents=texts_of(name, number), **options)
    sources.sync(pipeline.runtime, source)
    pipeline.run()
    return shown(pipeline, name)


def find_source(pipeline, name: str = "fake") -> dict[str, Any]:
    with pipeline.runtime.ledger.read() as tx:
        return trash_contents.find_source(tx, name)


def test_a_source_comes_back_with_the_documents_that_went_with_it(make_pipeline, monkeypatch) -> None:
    monkeypatch.setattr(ledger, "BATCH", 2)
    pipeline = make_pipeline(**KEPT)
    source = synced(pipeline, number=5, every=3600.0)
    before = {name for name, _, _ in hits(pipeline, "text")}
    drop(pipeline, sorted(before)[0])
    operation = sources.remove(pipeline.runtime, source)
    ticks(pipeline)
    assert pipeline.result(operation)["outcome"] == "succeeded"
    assert hits(pipeline, "text") == []
    with pytest.raises(UsageError, match="no source"):
        shown(pipeline)
    with pytest.raises(UsageError, match="sources restore"):
        added(pipeline, documents=texts_of("fake", 1))
    assert in_trash(pipeline) == {"sources": ["fake"]}
    assert find_source(pipeline)["documents"] == 4
    again = trash.restore_source(pipeline.runtime, find_source(pipeline))
    ticks(pipeline)
    result = pipeline.result(again)
    assert (result["outcome"], result["chunks"]["total"]) == ("succeeded", 4)
    assert (result["documents"]["seen"], result["documents"]["unchanged"]) == (4, 4)
    assert {name for name, _, _ in hits(pipeline, "text")} == before - {sorted(before)[0]}
    assert in_trash(pipeline) == {"documents": [sorted(before)[0]]}
    back = shown(pipeline)
    assert (back["state"], back["documents"], back["schedule"]) == ("idle", 4, source["schedule"])
    assert verify(pipeline.runtime).clean


def test_a_source_restored_on_its_way_to_the_trash_loses_nothing(make_pipeline, monkeypatch) -> None:
    from semantik_pipeline.ledger.retention import removal

    monkeypatch.setattr(removal, "BATCH", 2)
    pipeline = make_pipeline(**KEPT)
    source = synced(pipeline, number=5)
    operation = sources.remove(pipeline.runtime, source)
    with pipeline.runtime.ledger.write() as tx:
        assert removal.step(tx, source["id"])
    trash.restore_source(pipeline.runtime, find_source(pipeline))
    ticks(pipeline)
    assert pipeline.result(operation)["outcome"] == "cancelled"
    assert (shown(pipeline)["documents"], len(hits(pipeline, "text"))) == (5, 5)


@pytest.mark.parametrize("how", ["window", "purge", "purge later"])
def test_a_source_goes_for_good_with_all_that_it_had(make_pipeline, how: str) -> None:
    pipeline = make_pipeline(**KEPT)
    source = synced(pipeline)
    drop(pipeline, hits(pipeline, "text")[0][0])
    sources.remove(pipeline.runtime, source, purge=how == "purge")
    ticks(pipeline)
    if how == "purge later":
        sources.remove(pipeline.runtime, find_source(pipeline), purge=True)
    if how == "window":
        assert count(pipeline, embeddings) == 4
        later(pipeline, 8)
    ticks(pipeline, 4)
    kept = left(pipeline)
    assert set(kept) <= {"collections", "generations", "operations"}
    later(pipeline, 8)
    ticks(pipeline, 1)
    assert bodies(pipeline) == []


def test_who_indexes_a_removed_folder_again_has_it_back(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline(**KEPT)
    papers = texts(tmp_path / "papers", a="alpha beta", b="gamma")
    pipeline.folder(papers)
    with pipeline.runtime.ledger.read() as tx:
        (source,) = sources.ledger.list_sources(tx)
    sources.remove(pipeline.runtime, source)
    ticks(pipeline)
    (papers / "b.txt").unlink()
    done = pipeline.folder(papers)
    assert (done["outcome"], done["documents"]["new"]) == ("succeeded", 1)
    assert pipeline.stages() == {"a.txt": "indexed"}
    assert [name[-5:] for name in in_trash(pipeline)["documents"]] == ["b.txt"]


# -- collections ------------------------------------------------------------------------------------------------------


def test_a_collection_is_hidden_and_comes_back_as_it_was(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline(**KEPT)
    pipeline.folder(texts(tmp_path / "papers", a="alpha beta", b="gamma"))
    before = hits(pipeline, "alpha")
    trash.delete_collection(pipeline.runtime, "default")
    with pytest.raises(UsageError, match="collections restore default"):
        hits(pipeline, "alpha")
    with pytest.raises(UsageError, match="in the trash"):
        pipeline.folder(tmp_path / "papers")
    with pytest.raises(Conflict, match="--purge"):
        trash.delete_collection(pipeline.runtime, "default")
    assert (collections.list_all(pipeline.runtime), pipeline.stages()) == ([], {})
    assert in_trash(pipeline) == {"collections": ["default"]}
    later(pipeline, 6)
    ticks(pipeline, 1)
    assert trash.restore_collection(pipeline.runtime, "default") is None
    assert hits(pipeline, "alpha") == before
    assert verify(pipeline.runtime).clean
    trash.delete_collection(pipeline.runtime, "default")
    collections.rename(pipeline.runtime, "default", "old")  # its name is free
    pipeline.folder(tmp_path / "papers", config=FAKE_COLLECTION)
    assert in_trash(pipeline) == {"collections": ["old"]}


def test_what_a_deleted_collection_was_at_stops_and_goes_on_when_it_is_back(make_pipeline) -> None:
    pipeline = make_pipeline(**KEPT)
    added(pipeline, "later", every=3600.0)
    source = added(pipeline, "fake", documents=texts_of("fake", 3))
    operation = sources.sync(pipeline.runtime, source)
    pipeline.run("sync")
    trash.delete_collection(pipeline.runtime, "default")
    assert pipeline.result(operation)["outcome"] == "cancelled"
    ticks(pipeline)
    with pipeline.runtime.ledger.read() as tx:
        assert tx.execute(select(func.count()).select_from(documents)).scalar_one() == 3
    again = trash.restore_collection(pipeline.runtime, "default")
    pipeline.run()
    assert again is not None
    assert pipeline.result(again)["outcome"] == "succeeded"
    assert len(hits(pipeline, "text")) == 3
    assert shown(pipeline, "later")["state"] == "due"


def test_what_it_was_at_goes_on_in_slices_whoever_lives_on_to_see_to_it(make_pipeline, monkeypatch) -> None:
    monkeypatch.setattr(unfinished, "BATCH", 2)
    monkeypatch.setattr(holds, "BATCH", 2)
    pipeline = make_pipeline(**KEPT)
    operation = sources.sync(pipeline.runtime, added(pipeline, "fake", documents=texts_of("fake", 5)))
    pipeline.run("sync")
    with monkeypatch.context() as dead:  # after it said that it is deleted, and that its sync is cancelled
        dead.setattr(holding, "apply", lambda runtime, operation_id: False)
        trash.delete_collection(pipeline.runtime, "default")

    def parked() -> int:
        with pipeline.runtime.ledger.read() as tx:
            return tx.execute(select(func.count()).where(units.c.held_by == operation)).scalar_one()

    again = trash.restore_collection(pipeline.runtime, "default")
    assert again is not None
    assert not operations.take_up(pipeline.runtime, again), "what its deletion stopped is not parked yet"
    assert parked() == 0
    operations.advance_holds(pipeline.runtime, seconds=9)
    left = []
    while operations.take_up(pipeline.runtime, again):
        left.append(parked())
        with pipeline.runtime.ledger.read() as tx:
            assert lifecycle.state(tx, again) == "running"
        if len(left) == 2:
            break
    assert left == [3, 1]
    ticks(pipeline)
    assert pipeline.result(again)["outcome"] == "succeeded"
    assert len(hits(pipeline, "text")) == 5


def test_who_restores_a_collection_waits_for_a_slice_at_most(make_pipeline, monkeypatch) -> None:
    monkeypatch.setattr(unfinished, "BATCH", 2)
    pipeline = make_pipeline(**KEPT)
    operation = sources.sync(pipeline.runtime, added(pipeline, "fake", documents=texts_of("fake", 5)))
    pipeline.run("sync")
    trash.delete_collection(pipeline.runtime, "default")
    again = trash.restore_collection(pipeline.runtime, "default")
    with pipeline.runtime.ledger.read() as tx:
        assert tx.execute(select(func.count()).where(units.c.held_by == operation)).scalar_one() == 3
    pipeline.run()
    ticks(pipeline)
    assert pipeline.result(again)["outcome"] == "succeeded"
    assert len(hits(pipeline, "text")) == 5


def test_a_purge_leaves_nothing_behind_and_others_keep_what_they_share(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline(**KEPT)
    papers = texts(tmp_path / "papers", a="alpha beta", same="delta epsilon")
    pipeline.folder(papers, collection="gone")
    drop(pipeline, "a.txt")
    pipeline.folder(texts(tmp_path / "other", same="delta epsilon"))
    other, before = left(pipeline), hits(pipeline, "delta")
    trash.delete_collection(pipeline.runtime, "gone")
    later(pipeline, 8)
    ticks(pipeline)
    assert in_trash(pipeline) == {}
    kept = left(pipeline)
    assert {
        name: kept[name] for name in ("collections", "documents", "embeddings", "sources", "work")
    } == dict.fromkeys(("collections", "documents", "embeddings", "sources", "work"), 1)
    assert other["operations"] > kept["operations"] == 1
    assert len(pipeline.runtime.host.call(pipeline.runtime.store.list_indexes)) == 1
    assert sorted(path.parent.parent.name for path in bodies(pipeline)) == ["parsed", "raw"]
    assert hits(pipeline, "delta") == before
    with pytest.raises(UsageError, match="no collection"):
        trash.restore_collection(pipeline.runtime, "gone")
    trash.delete_collection(pipeline.runtime, "default", purge=True)
    later(pipeline, 1)
    ticks(pipeline)
    assert (left(pipeline), bodies(pipeline)) == ({}, [])
    assert pipeline.runtime.host.call(pipeline.runtime.store.list_indexes) == []


def test_a_purge_goes_on_after_a_kill_and_waits_for_who_holds_a_unit(make_pipeline, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(purging, "BATCH", 1)
    pipeline = make_pipeline(**KEPT)
    pipeline.folder(texts(tmp_path / "papers", a="alpha", b="beta", c="gamma"))
    trash.delete_collection(pipeline.runtime, "default", purge=True)
    with pytest.raises(Conflict, match="being purged"):
        trash.restore_collection(pipeline.runtime, "default")
    lease = select(documents.c.id).order_by(documents.c.id).limit(1)
    with pipeline.runtime.ledger.write() as tx:
        first = tx.execute(lease).scalar_one()
        work = metadata.tables["work"]
        tx.execute(
            update(work).where(work.c.document_id == first).values(lease_token="t", lease_until=time.time() + 60)
        )
    steps = trash._steps(pipeline.runtime)
    assert next(steps)
    steps.close()  # the process died after a step
    assert count(pipeline, documents) == 2
    assert not trash.advance(pipeline.runtime)
    assert (count(pipeline, documents), in_trash(pipeline)) == (1, {"collections": ["default"]})
    assert _index(pipeline)
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(work).values(lease_token=None, lease_until=None))
    trash.advance(pipeline.runtime)
    assert left(pipeline) == {}
    assert pipeline.runtime.host.call(pipeline.runtime.store.list_indexes) == []


def test_a_build_beside_the_index_goes_with_the_collection(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline(**KEPT)
    pipeline.folder(texts(tmp_path / "papers", a="alpha", b="beta"))
    operation = generations.reindex(pipeline.runtime, "default", {"embedding.dimension": 32})
    maintenance.tick(pipeline.runtime)
    pipeline.run()
    assert len(pipeline.runtime.host.call(pipeline.runtime.store.list_indexes)) == 2
    trash.delete_collection(pipeline.runtime, "default")
    assert pipeline.result(operation)["outcome"] == "cancelled"
    trash.restore_collection(pipeline.runtime, "default")
    ticks(pipeline)
    assert len(hits(pipeline, "alpha")) == 2
    generations.reindex(pipeline.runtime, "default", {"embedding.dimension": 16})
    maintenance.tick(pipeline.runtime)
    trash.delete_collection(pipeline.runtime, "default", purge=True)
    ticks(pipeline)
    assert left(pipeline) == {}
    assert pipeline.runtime.host.call(pipeline.runtime.store.list_indexes) == []


def test_without_a_window_all_goes_at_once(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline(retention={"trash_days": 0})
    pipeline.folder(texts(tmp_path / "papers", a="alpha", b="beta"))
    drop(pipeline, "a.txt")
    assert in_trash(pipeline) == {}
    assert trash.delete_collection(pipeline.runtime, "default")["purged"]
    ticks(pipeline)
    assert left(pipeline) == {}
