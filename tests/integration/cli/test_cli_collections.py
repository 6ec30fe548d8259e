"""Collections, the trash, export and import as people type them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.integration.cli.conftest import CommandLine


def found(cli: CommandLine, collection: str) -> list[str]:
    hits = cli("search", "lease holder queue", "--collection", collection, "--no-rerank", "--json").json()["hits"]
    return sorted(Path(hit["document"]).name for hit in hits)


def test_a_collection_is_made_configured_listed_renamed_and_shown(cli: CommandLine) -> None:
    made = cli("collections", "create", "notes", "--set", "chunking.max_tokens=90", "--json")
    assert made.code == 0, made.err
    assert made.json()["config"]["chunking"]["options"]["max_tokens"] == 90
    refused = cli("collections", "configure", "notes", "chunking.max_tokns=90")
    assert (refused.code, "max_tokns" in refused.err) == (2, True)
    etag = made.json()["etag"]
    changed = cli("collections", "configure", "notes", "--unset", "chunking.max_tokens", "--if-match", etag, "--json")
    assert changed.json()["config"]["chunking"]["options"] == {}
    late = cli("collections", "configure", "notes", "sparse.k1=1.5", "--if-match", etag)
    assert (late.code, "was changed after it was read" in late.err) == (2, True)
    assert cli("collections", "rename", "notes", "papers").code == 0
    assert "papers" in cli("collections", "list").out
    shown = cli("collections", "show", "papers").out
    assert "fake-embedder" in shown
    assert "active, 64 dimensions" in shown


def test_what_was_deleted_is_listed_and_comes_back(cli: CommandLine, papers: Path) -> None:
    (papers / "broken.pdf").unlink()
    cli("index", papers, "--collection", "notes")
    whole = found(cli, "notes")
    assert cli("documents", "drop", "leases.md").code == 0
    assert found(cli, "notes") == ["queues.txt"]
    assert "documents restore" in cli("trash").out
    restored = cli("documents", "restore", "leases.md", "--json")
    assert (restored.code, restored.json()["restored"]) == (0, 1)
    assert found(cli, "notes") == whole
    removed = cli("sources", "remove", papers)
    assert removed.code == 0, removed.err
    (row,) = cli("trash", "--json").json()["sources"]
    assert (row["documents"], row["purge_at"] - row["trashed_at"]) == (3, 7 * 86400)
    back = cli("sources", "restore", papers)
    assert (back.code, "with 3 documents" in back.out) == (0, True)
    assert found(cli, "notes") == whole
    assert "7 days" in cli("collections", "delete", "notes").out
    assert "restore" in cli("search", "lease", "--collection", "notes").err
    assert cli("collections", "restore", "notes").code == 0
    assert found(cli, "notes") == whole


def test_a_collection_is_exported_purged_and_imported(cli: CommandLine, papers: Path, tmp_path: Path) -> None:
    cli("index", papers, "--collection", "notes")
    whole, file = found(cli, "notes"), tmp_path / "notes.tar.gz"
    written: dict[str, Any] = cli("collections", "export", "notes", file, "--json").json()
    assert (written["documents"], written["bytes"]) == (4, file.stat().st_size)
    again = cli("collections", "export", "notes", file)
    assert (again.code, "already" in again.err) == (2, True)
    gone = cli("collections", "delete", "notes", "--purge", "--json")
    assert gone.json()["gone"]
    assert cli("trash", "--json").json()["collections"] == []
    imported = cli("collections", "import", file, "--json")
    assert imported.code == 3, imported.err  # the broken one is in quarantine again
    answer = imported.json()
    assert (answer["outcome"], answer["recomputed"]) == ("degraded", [])
    assert found(cli, "notes") == whole
    file.write_bytes(file.read_bytes()[:2000])
    cut = cli("collections", "import", file, "--name", "cut")
    assert (cut.code, "Nothing was imported" in cut.err) == (2, True)
    assert [row["name"] for row in cli("collections", "list", "--json").json()["collections"]] == ["notes"]


def test_a_rerun_counts_the_documents_that_matched(cli: CommandLine, papers: Path) -> None:
    cli("index", papers)
    asked = ("reindex", "default", "--where", "error.stage=chunk")
    assert cli(*asked, "--dry-run", "--json").json()["documents"] == 1
    done = cli(*asked)
    assert (done.code, "1 document, 1 in quarantine" in done.out) == (3, True), done.out
    both = cli("reindex", "default", "--where", "status=indexed", "--json").json()
    assert both["documents"] == {**both["documents"], "seen": 2, "unchanged": 2, "new": 0, "quarantined": 0}
    assert both["chunks"] == {"total": 2, "embedded": 0, "reused": 2}
    assert "2: 0 new, 0 changed, 2 unchanged" in cli("operations", "show", both["operation"]).out
