"""A collection in a file: what is found stays the same, nothing is embedded again, and what is broken is refused, on
both ledgers."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from semantik_pipeline import collections, sources, trash
from semantik_pipeline.documents import short_hash
from semantik_pipeline.errors import (
    Conflict,
    PluginConfigError,
    PluginNotFoundError,
    UnreadableExport,
    UsageError,
)
from semantik_pipeline.ledger.generations import switching
from semantik_pipeline.ledger.tables import collections as collection_table
from semantik_pipeline.ledger.tables import documents, embeddings, extractions, metadata
from semantik_pipeline.ledger.tables import generations as generation_table
from semantik_pipeline.ledger.tables import sources as source_table
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.testing import FakeConnector, FakeEmbedder
from semantik_pipeline.transfer import archive, export, exporting, import_collection, importing
from semantik_pipeline.verification import verify
from tests.integration.conftest import FAKE_COLLECTION, texts
from tests.integration.test_sources import count
from tests.integration.test_trash import bodies, drop, embedded, hits, left, logged, ticks

LEDGERS = ("sqlite", "postgres")

CONTENTS = {"a": "alpha beta gamma. delta epsilon", "b": "zeta eta", "c": "", "same": "zeta eta"}


def exported(pipeline, tmp_path: Path, name: str = "notes.tar", **config: Any) -> Path:
    """An export of a collection that has all kinds of documents."""
    papers = texts(tmp_path / "papers", **CONTENTS)
    (papers / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing of a PDF follows\n")
    pipeline.folder(papers, collection="notes", config={**FAKE_COLLECTION, **config})
    file = tmp_path / name
    export(pipeline.runtime, "notes", file)
    return file


def rewritten(file: Path, change: Callable[[str, bytes], bytes | None], *, to: str = "changed.tar") -> Path:
    """The export with other members (None: left out), and an end that is right for them."""
    path = file.with_name(to)
    with archive.writing(path) as writer, tarfile.open(file) as tar:
        for about in tar:
            found = tar.extractfile(about)
            assert found is not None
            body = change(about.name, found.read())
            if body is not None and about.name != "end.json":
                writer.add(about.name, body)
    return path


def comparable(rows: list[tuple[str, str, float]]) -> list[tuple[str, str, float]]:
    return sorted((name, text, score) for name, text, score in rows)


def test_it_is_the_same_elsewhere_and_embeds_nothing(make_pipeline, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(exporting, "PAGE", 2)
    monkeypatch.setattr(exporting, "PART", 2)
    pipeline = make_pipeline(plugins=logged(tmp_path))
    file = exported(
        pipeline, tmp_path, "notes.tar.gz", extraction={"chunk": [{"plugin": "fake-extractor"}], "document": []}
    )
    before, computed = hits(pipeline, "alpha zeta", "notes"), embedded(tmp_path / "embedded")
    assert (len(before), computed) == (3, 2)
    stages = pipeline.stages()
    trash.delete_collection(pipeline.runtime, "notes", purge=True)
    ticks(pipeline)
    assert left(pipeline) == {}
    done = import_collection(pipeline.runtime, file)
    assert (done["documents"], done["recomputed"], done["warnings"]) == (5, [], [])
    assert (done["chunks"], done["vectors"]) == (3, 3)
    pipeline.run("upsert")  # no other stage has anything to do
    result = pipeline.result(done["operation"])
    assert result["outcome"] == "degraded"  # the broken one is in quarantine there too
    assert (result["documents"]["new"], result["documents"]["skipped"]) == (4, 1)
    assert comparable(hits(pipeline, "alpha zeta", "notes")) == comparable(before)
    assert embedded(tmp_path / "embedded") == computed
    assert pipeline.stages() == stages
    assert verify(pipeline.runtime).clean
    (source,) = _sources(pipeline)
    assert (source["state"], source["connector"]) == ("paused", "directory")
    sources.resume(pipeline.runtime, source)
    sources.sync(pipeline.runtime, _sources(pipeline)[0])
    pipeline.run()
    assert embedded(tmp_path / "embedded") == computed
    assert pipeline.stages() == stages


def _sources(pipeline) -> list[dict[str, Any]]:
    with pipeline.runtime.ledger.read() as tx:
        return sources.ledger.list_sources(tx)


def test_another_name_beside_it_shares_what_is_the_same(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline()
    file = exported(pipeline, tmp_path)
    vectors, stored = count(pipeline, embeddings), bodies(pipeline)
    with pytest.raises(Conflict, match="notes"):
        import_collection(pipeline.runtime, file)
    import_collection(pipeline.runtime, file, name="copy")
    pipeline.run()
    assert comparable(hits(pipeline, "zeta", "copy")) == comparable(hits(pipeline, "zeta", "notes"))
    assert (count(pipeline, embeddings), bodies(pipeline)) == (vectors, stored)
    trash.delete_collection(pipeline.runtime, "notes", purge=True)
    ticks(pipeline)
    assert len(hits(pipeline, "zeta", "copy")) == 3
    assert verify(pipeline.runtime).clean


def test_what_plugins_make_otherwise_here_is_said_and_made_again(make_pipeline, tmp_path, monkeypatch) -> None:
    pipeline = make_pipeline(plugins=logged(tmp_path))
    file = exported(pipeline, tmp_path)
    computed = embedded(tmp_path / "embedded")
    monkeypatch.setattr(FakeEmbedder, "OUTPUT_VERSION", "2")
    pipeline.runtime.close()
    other = make_pipeline(plugins=logged(tmp_path))  # another process, with another release of the plugin
    done = import_collection(other.runtime, file, name="copy")
    assert [reason.split(":")[0] for reason in done["recomputed"]] == ["embeddings"]
    other.run()
    assert embedded(tmp_path / "embedded") > computed
    assert len(hits(other, "zeta", "copy")) == 3
    assert verify(other.runtime, "copy").clean


def test_without_its_plugins_nothing_is_imported(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline()
    file = exported(pipeline, tmp_path)
    pipeline.runtime.close()
    other = make_pipeline(disabled=("fake-embedder",))
    with pytest.raises(PluginNotFoundError, match="fake-embedder"):
        import_collection(other.runtime, file, name="copy")
    assert [row["name"] for row in collections.list_all(other.runtime)] == ["notes"]


def _cut(file: Path) -> Path:
    path = file.with_name("cut.tar")
    path.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return path


def _without_end(file: Path) -> Path:
    path = file.with_name("endless.tar")
    with tarfile.open(file) as tar, tarfile.open(path, "w") as out:
        for about in tar:
            if about.name != "end.json":
                out.addfile(about, tar.extractfile(about))
    return path


def _flipped(file: Path) -> Path:
    """One letter of a chunk's text is another: only the sum over all tells."""
    path = file.with_name("flipped.tar")
    path.write_bytes(file.read_bytes().replace(b"alpha beta", b"alphi beta"))
    return path


def _of_tomorrow(name: str, body: bytes) -> bytes:
    manifest = json.loads(body) if name == "manifest.json" else None
    return json.dumps({**manifest, "version": 99}).encode() if manifest else body


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "cut": (_cut, "cut short|damaged"),
    "endless": (_without_end, "cut short"),
    "flipped": (_flipped, "damaged"),
    "newer": (lambda file: rewritten(file, _of_tomorrow), "version 99"),
    "another body": (lambda file: rewritten(file, lambda name, body: b"odd" if "/raw/" in name else body), "body"),
    "no vectors": (
        lambda file: rewritten(file, lambda name, body: b"odd" if name.endswith("npy") else body),
        "damaged",
    ),
    "a text": (lambda file: Path(__file__), "not an export"),
}


def test_what_is_broken_is_refused_and_leaves_nothing(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline()
    file = exported(pipeline, tmp_path)
    ticks(pipeline, 1)  # the first one learns the words of what is there
    before = left(pipeline)
    for kind, (damage, told) in BROKEN.items():
        broken = damage(file)
        with pytest.raises(UnreadableExport, match=told):
            import_collection(pipeline.runtime, broken, name="copy")
        broken.unlink() if broken.parent == tmp_path else None
        ticks(pipeline, 1)
        assert left(pipeline) == before, kind
    assert len(pipeline.runtime.host.call(pipeline.runtime.store.list_indexes)) == 1


def test_what_only_a_plugins_schema_calls_a_secret_stays_here(make_pipeline, tmp_path, monkeypatch) -> None:
    for plugin in (FakeEmbedder, FakeConnector):
        schema = plugin.get_config_schema()
        schema["properties"]["word"] = {"type": "string", "secret": True}
        monkeypatch.setattr(plugin, "get_config_schema", classmethod(lambda _, schema=schema: schema))
    pipeline = make_pipeline()
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": {"a": "alpha beta"}}))
    planted = {"word": "opensesame"}
    with pipeline.runtime.ledger.write() as tx:  # as if it had been written there by hand
        tx.execute(update(source_table).values(config=planted))
        for table in (collection_table, generation_table):
            config = tx.execute(select(table.c.config)).scalar_one()
            embedding = {**config["embedding"], "options": planted}
            tx.execute(update(table).values(config={**config, "embedding": embedding}))
    file = tmp_path / "notes.tar"
    export(pipeline.runtime, "default", file)
    assert file.read_bytes().count(b"********") == 3
    assert b"opensesame" not in file.read_bytes()


def test_a_body_that_is_too_large_for_a_file_stays_out_of_it(make_pipeline, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(archive.LARGEST, "raw", 10)  # bytes: "zeta eta" has 8, "alpha beta …" more
    pipeline = make_pipeline()
    file = exported(pipeline, tmp_path)
    with tarfile.open(file) as tar:
        assert len([one for one in tar.getnames() if "/raw/" in one]) == 1  # of two documents
    done = import_collection(pipeline.runtime, file, name="copy")
    pipeline.run()
    assert done["documents"] == 5
    assert comparable(hits(pipeline, "alpha zeta", "copy")) == comparable(hits(pipeline, "alpha zeta", "notes"))


def with_source(file: Path, **values: Any) -> Path:
    """The export with another source."""

    def change(name: str, body: bytes) -> bytes:
        if name != archive.MANIFEST:
            return body
        manifest = json.loads(body)
        manifest["sources"][0] |= values
        return json.dumps(manifest).encode()

    return rewritten(file, change, to="source.tar")


#: What no source here may have -> why.
BAD_SOURCES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"config": {"path": 7}}, PluginConfigError, "path"),
    ({"config": {"path": "/", "pth": "/"}}, PluginConfigError, "pth"),
    ({"connector": "imap", "config": {"host": "h", "password": "hunter22"}}, PluginConfigError, "raw secret"),
    ({"connector": "of-elsewhere", "config": {"token": "hunter22"}}, PluginConfigError, "raw secret"),
    ({"weight": 0}, UsageError, "is not valid"),
    ({"weight": "2"}, UsageError, "is not valid"),
    ({"schedule": {"every": 0.1}}, UsageError, "than a second"),
    ({"schedule": {"when": "now"}}, UnreadableExport, "schedule"),
    ({"principals": "anna"}, UsageError, "not a list of users"),
    ({"name": ""}, UnreadableExport, "is not a source"),
]


def test_an_exports_sources_are_held_against_the_rules_for_new_ones(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline()
    file = exported(pipeline, tmp_path)
    for values, error, told in BAD_SOURCES:
        with pytest.raises(error, match=told):
            import_collection(pipeline.runtime, with_source(file, **values), name="copy")
        file.with_name("source.tar").unlink()
    assert [row["name"] for row in collections.list_all(pipeline.runtime)] == ["notes"]


def test_what_an_imported_source_lacks_is_said(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline()
    file = exported(pipeline, tmp_path)
    other = with_source(file, connector="of-elsewhere", config={"place": "there", "token": "********"})
    done = import_collection(pipeline.runtime, other, name="copy")
    without, missing = done["warnings"]
    assert "was exported without token" in without and "of-elsewhere is not loaded" in missing
    (copied,) = [row for row in _sources(pipeline) if row["collection"] == "copy"]
    assert (copied["config"], copied["state"]) == ({"place": "there"}, "paused")


def test_a_forged_export_writes_under_no_key_of_its_own_choice(make_pipeline, tmp_path) -> None:
    """Vectors, parses and extractions are shared by all collections: each is kept under the key of what it is of."""
    pipeline = make_pipeline()
    extraction = {"chunk": [{"plugin": "fake-extractor"}], "document": []}
    file = exported(pipeline, tmp_path, extraction=extraction)
    fingerprint = pipeline.runtime.generation(1).fingerprints["extract"]["fake-extractor"]
    victim, parse = short_hash("what others have"), "e" * 32
    vectors = {row.key for row in rows_of(pipeline, embeddings)}
    parsed = set(bodies_of(pipeline, "parsed"))

    def forge(name: str, body: bytes) -> bytes:
        rows = [json.loads(line) for line in body.splitlines()] if name.endswith(".jsonl") else []
        if name.endswith("chunks.jsonl"):
            rows = [{**row, "embed_key": short_hash("stolen", row["text"]), "text_hash": victim} for row in rows]
        elif name.endswith("extractions.jsonl"):
            rows = [{"text_hash": victim, "fingerprint": fingerprint, "result": {"topics": ["forged"]}}]
        elif name.endswith("documents.jsonl"):
            rows = [{**row, "unit": {**row["unit"], "parse_key": row["unit"]["parse_key"] and parse}} for row in rows]
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows) if rows else body

    def renamed(file: Path) -> Path:
        path = file.with_name("forged.tar")
        with archive.writing(path) as writer, tarfile.open(file) as tar:
            for about in tar:
                found = tar.extractfile(about)
                assert found is not None
                name = f"{about.name[:14]}{parse}" if "/parsed/" in about.name else about.name
                if name != archive.END:
                    writer.add(name, forge(name, found.read()))
        return path

    import_collection(pipeline.runtime, renamed(file), name="copy")
    pipeline.run()
    assert {row.key for row in rows_of(pipeline, embeddings)} == vectors
    assert set(bodies_of(pipeline, "parsed")) == parsed
    assert victim not in {row.text_hash for row in rows_of(pipeline, extractions)}
    assert comparable(hits(pipeline, "zeta", "copy")) == comparable(hits(pipeline, "zeta", "notes"))
    assert verify(pipeline.runtime).clean


def rows_of(pipeline, table: Any) -> list[Any]:
    with pipeline.runtime.ledger.read() as tx:
        return list(tx.execute(select(table)).all())


def bodies_of(pipeline, kind: str) -> list[str]:
    folder = pipeline.runtime.settings.data_dir / "blobs" / kind
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_killed_import_is_not_seen_and_the_next_one_begins_anew(make_pipeline, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(exporting, "PAGE", 2)
    pipeline = make_pipeline()
    file = exported(pipeline, tmp_path)
    rows = count(pipeline, documents)

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as during:
        during.setattr(importing, "_give_up", lambda *_: None)  # a kill tidies nothing up
        during.setattr(importing.exports, "reveal", die)
        with pytest.raises(Killed):
            import_collection(pipeline.runtime, file, name="copy")
    assert count(pipeline, documents) == 2 * rows
    assert [row["name"] for row in collections.list_all(pipeline.runtime)] == ["notes"]
    for ask in (lambda: hits(pipeline, "zeta", "copy"), lambda: collections.show(pipeline.runtime, "copy")):
        with pytest.raises(UsageError, match="being imported"):
            ask()
    with pytest.raises(UsageError, match="in the trash"):
        trash.restore_collection(pipeline.runtime, "copy")
    ticks(pipeline)  # it is not dead for long enough
    assert count(pipeline, documents) == 2 * rows
    import_collection(pipeline.runtime, file, name="copy")
    ticks(pipeline)
    assert count(pipeline, documents) == 2 * rows
    assert len(hits(pipeline, "zeta", "copy")) == 3
    with pipeline.runtime.ledger.write() as tx:
        mine = collection_table.c.name == "copy"
        tx.execute(update(collection_table).where(mine).values(importing_at=1.0, trashed_at=1.0))
    ticks(pipeline)
    assert count(pipeline, documents) == rows


def test_a_file_is_there_whole_or_not_at_all_and_is_never_written_over(make_pipeline, tmp_path, monkeypatch) -> None:
    pipeline = make_pipeline()
    file = exported(pipeline, tmp_path, "notes.tgz")
    before = file.read_bytes()
    assert gzip.decompress(before)
    with pytest.raises(UsageError, match="already"):
        export(pipeline.runtime, "notes", file)
    assert file.read_bytes() == before
    with pytest.raises(UsageError, match=f"The folder {tmp_path / 'nowhere'} does not exist"):
        export(pipeline.runtime, "notes", tmp_path / "nowhere" / "notes.tgz")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive.Writer, "end", full)
    with pytest.raises(OSError, match="space"):
        export(pipeline.runtime, "notes", tmp_path / "other.tar")
    assert sorted(path.name for path in tmp_path.glob("*.t*")) == ["notes.tgz"]
    assert not list(tmp_path.glob(".*.tar.*"))


def test_what_was_on_its_way_and_what_is_in_the_trash(make_pipeline, tmp_path) -> None:
    pipeline = make_pipeline(retention={"trash_days": 7})
    papers = texts(tmp_path / "papers", a="alpha", b="beta", c="gamma")
    pipeline.folder(papers, collection="notes", config=FAKE_COLLECTION)
    drop(pipeline, "a.txt")
    (papers / "d.txt").write_text("delta")
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(
            update(metadata.tables["work"]).where(metadata.tables["work"].c.stage == "indexed").values(notes=None)
        )
    pipeline.folder(papers, collection="notes", run=False)
    pipeline.run("sync", "chunk")
    file = tmp_path / "notes.tar"
    told = export(pipeline.runtime, "notes", file)
    assert told["documents"] == 4  # the sync brought back the one in the trash
    import_collection(pipeline.runtime, file, name="copy")
    pipeline.run()
    found = {name[-5:] for name, _, _ in hits(pipeline, "alpha beta gamma delta", "copy")}
    assert found == {"a.txt", "b.txt", "c.txt", "d.txt"}
    drop(pipeline, f"{papers}/a.txt")
    second = tmp_path / "second.tar"
    assert export(pipeline.runtime, "notes", second)["documents"] == 3
    with tarfile.open(second) as tar:
        body = tar.extractfile("manifest.json")
        assert body is not None
        assert json.load(io.BytesIO(body.read()))["format"] == "semantik-collection"
    assert count(pipeline, source_table) == 2


@pytest.mark.parametrize("event", ["retired", "deleted"])
def test_what_is_removed_while_it_is_exported_leaves_no_file(make_pipeline, tmp_path, monkeypatch, event: str) -> None:
    """Pages that were read after the rows began to go are not what the collection was."""
    monkeypatch.setattr(exporting, "PAGE", 2)
    pipeline = make_pipeline()
    pipeline.folder(texts(tmp_path / "papers", **CONTENTS), collection="notes", config=FAKE_COLLECTION)

    def lose(documents: int) -> None:
        if documents > 2:
            return
        if event == "deleted":
            trash.delete_collection(pipeline.runtime, "notes", purge=True)
            ticks(pipeline)
            return
        with pipeline.runtime.ledger.write() as tx:
            tx.execute(update(generation_table).values(state="kept", retire_at=1.0))
            switching.retire_due(tx)
            (gone,) = switching.retired(tx)
            assert switching.remove_rows(tx, gone.generation_id)

    file = tmp_path / "notes.tar"
    with pytest.raises(Conflict, match="removed meanwhile"):
        export(pipeline.runtime, "notes", file, lose)
    assert not list(tmp_path.glob("*notes.tar*")) and not list(tmp_path.glob(".notes*"))
