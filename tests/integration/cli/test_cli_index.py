"""``semantik index``, ``documents`` and ``verify``, as a person and as a program call them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def test_index_answers_with_counts_that_add_up(cli, papers):
    done = cli.afresh("index", papers, "--json")
    answer = done.json()
    assert done.code == 3  # a document is in quarantine
    assert answer["outcome"] == "degraded"
    assert answer["collection"] == "default"
    assert isinstance(answer["operation"], str)
    documents = answer["documents"]
    assert documents == {
        "seen": 4, "new": 3, "changed": 0, "unchanged": 0, "deleted": 0, "skipped": 1, "quarantined": 1,
    }  # fmt: skip
    assert documents["seen"] == sum(documents[kind] for kind in ("new", "changed", "unchanged", "skipped"))
    assert answer["chunks"]["total"] == answer["chunks"]["embedded"] + answer["chunks"]["reused"] == 2
    assert answer["seconds"] > 0


def test_a_second_run_follows_the_folder(cli, papers):
    cli("index", papers)
    (papers / "broken.pdf").unlink()
    (papers / "queues.txt").write_text("A queue is drained before it is deleted.\n")
    done = cli("index", papers, "--json")
    assert done.code == 0, done.err
    documents = done.json()["documents"]
    assert (documents["changed"], documents["unchanged"], documents["deleted"]) == (1, 1, 1)
    assert done.json()["chunks"] == {"total": 2, "embedded": 1, "reused": 1}


@pytest.mark.usefixtures("packaged_model")
def test_a_second_run_with_the_default_model_imports_no_torch(cli, tmp_path):
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "a.txt").write_text("A lease expires when its holder stops renewing it.")
    (tmp_path / "default.toml").write_text("")
    command = ["index", str(tmp_path / "papers"), "--config", str(tmp_path / "default.toml"), "--json"]
    assert cli(*command).json()["chunks"]["embedded"] == 1
    again = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "semantik_pipeline.cli", *command],
        env=cli.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in again.stderr.splitlines()}
    assert "semantik_pipeline.runtime" in imported
    assert not imported & {"torch", "transformers", "sentence_transformers", "safetensors"}


def test_people_read_what_broke_and_what_to_type_next(cli, papers):
    done = cli("index", papers)
    assert done.code == 3
    assert "4 documents: 3 new, 0 changed, 0 unchanged, 1 skipped" in done.out
    [line] = [line for line in done.out.splitlines() if "broken.pdf:" in line]
    assert "damaged" in line
    assert "semantik search" in done.out
    assert "Traceback" not in done.err + done.out


def test_each_path_is_a_source_and_globs_choose(cli, papers, tmp_path):
    other = tmp_path / "other"
    (other / "deep").mkdir(parents=True)
    (other / "a.txt").write_text("one")
    (other / "b.log").write_text("two")
    (other / "deep" / "c.txt").write_text("three")
    first = cli("index", papers, other, "--exclude", "*.pdf", "--exclude", "*.log", "--no-recursive", "--json")
    assert first.json()["documents"]["seen"] == 4  # leases, queues, empty, a
    again = cli("index", other, "--include", "*.txt", "--json").json()
    assert again["documents"] == {**again["documents"], "seen": 2, "new": 1, "unchanged": 1, "deleted": 0}
    listed = cli("documents", "list", "--json").json()["documents"]
    assert sum("/papers/" in row["document"] for row in listed) == 3  # the first source is left alone


def test_json_lines_are_documents_of_their_own(cli, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "d1", "text": "about leases"}\n{"_id": "d2", "text": "about queues"}\n')
    assert (
        cli("index", corpus, "--connector", "jsonl", "--collection", "lines", "--json").json()["documents"]["new"] == 2
    )
    hits = cli("search", "leases", "--collection", "lines", "--json").json()["hits"]
    assert hits[0]["document"] == "d1"


def test_most_of_a_source_vanishing_pauses_it_until_it_is_allowed(cli, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.txt").write_text(f"text {number}")
    small = {"SEMANTIK_SYNC_DELETION_GUARD_COUNT": "3"}
    cli("index", folder, **small)
    for number in range(6):
        (folder / f"{number}.txt").unlink()
    paused = cli("index", folder, "--json", **small)
    assert paused.code == 1
    assert "--allow-deletions" in paused.json()["errors"][0]
    assert "/many: 6 of 8" in cli("status").out
    allowed = cli("index", folder, "--allow-deletions", "--json", **small)
    assert (allowed.code, allowed.json()["documents"]["deleted"]) == (0, 6)


def test_names_with_control_characters_stay_on_their_line(cli, tmp_path):
    folder = tmp_path / "weird"
    folder.mkdir()
    (folder / "two\nlines\x1b[31m.pdf").write_bytes(b"%PDF-1.7\nbroken\n")
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt"))).write_text("latin name")
    done = cli("index", folder)
    assert done.code == 3
    assert "two\\nlines\\x1b[31m.pdf: " in done.out
    assert "\x1b" not in done.out + done.err
    assert "\\xff.txt" in cli("documents", "list").out
    assert len(cli("documents", "list", "--json").json()["documents"]) == 2


def test_a_path_that_is_written_in_several_ways_is_one_source(cli, papers):
    same = papers.parent / "elsewhere" / ".." / "papers"
    (papers.parent / "elsewhere").mkdir()
    first = cli("index", papers, same, f"{papers}/", "--json").json()
    assert (first["documents"]["seen"], first["documents"]["new"]) == (4, 3)
    again = cli("index", same, "--json").json()
    assert (again["documents"]["seen"], again["documents"]["new"]) == (4, 0)
    [source] = cli("sources", "list", "--json").json()["sources"]
    assert source["name"] == str(papers)


def test_interrupting_loses_nothing(cli, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.txt").write_text(f"text number {number}")
    state = cli.data / "plugins.json"
    state.parent.mkdir()
    state.write_text('{"version": 1, "disabled_ids": [], "configs": {"fake-embedder": {"sleep_ms_per_text": 200}}}')
    process = cli.start("index", folder, "--json", SEMANTIK_WORKER_SOFT_SHUTDOWN="1")
    until = time.monotonic() + 60
    while cli("status", "--json").json()["collections"].get("default", {"documents": {}})["documents"] == {}:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == b""
    assert b"Run the same command again to continue" in err
    assert b"Traceback" not in err
    state.unlink()
    answer = cli("index", folder, "--json").json()
    assert (answer["outcome"], answer["documents"]["seen"]) == ("succeeded", 40)
    assert cli("verify").code == 0


def test_documents_can_be_listed_shown_retried_and_dropped(cli, papers):
    cli("index", papers)
    [row] = cli("documents", "list", "--status", "quarantined", "--json").json()["documents"]
    assert row["document"].endswith("/broken.pdf")
    shown = cli("documents", "show", "broken.pdf", "--json").json()
    assert shown["status"] == "quarantined"
    assert "Traceback" in shown["generations"][0]["error"]["traceback"]
    people = cli("documents", "show", papers / "broken.pdf")
    assert people.code == 0
    assert "chunk failed" in people.out
    assert "Traceback" not in people.out and "--verbose shows it" in people.out
    again = cli("documents", "retry", "--json")
    assert (again.code, again.json()["retried"], again.json()["outcome"]) == (3, 1, "degraded")
    assert cli("audit", "--json").json()["entries"][0]["event"] == "collection.rerun", (
        "in slices, however many they are"
    )
    dropped = cli("documents", "drop", "leases.md", "--json")
    assert (dropped.code, dropped.json()["documents"][0]["status"]) == (0, "deleted")
    assert all("leases.md" not in hit["document"] for hit in cli("search", "lease", "--json").json()["hits"])
    verified = cli("verify", "--json")
    assert verified.code == 0
    assert {"documents", "points_expected", "points_found", "missing", "orphaned", "stale"} <= set(verified.json())


def test_verify_finds_what_is_gone_and_repair_mends_it(cli, papers):
    cli("index", papers)
    for index in (cli.data / "index").glob("c*"):
        for path in sorted(index.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        index.rmdir()
    broken = cli("verify", "--json")
    assert (broken.code, broken.json()["missing"], broken.json()["points_found"]) == (1, 2, 0)
    assert "--repair" in cli("verify").out
    mended = cli("verify", "--repair", "--json")
    assert (mended.code, mended.json()["missing"], mended.json()["repaired"]["missing"]) == (0, 0, 2)
    assert len(cli("search", "lease", "--json").json()["hits"]) == 2


def test_an_index_that_was_wiped_is_told_and_written_again(cli, papers):
    cli("index", papers)
    shutil.rmtree(cli.data / "index")
    told = cli("search", "leases", "--no-rerank", "--json").json()
    assert told["hits"] == []
    assert "holds 0 of 2 points" in told["warnings"][0]
    assert "verify --repair" in told["warnings"][0]
    assert cli("verify", "--json").json()["missing"] == 2
    again = cli("index", papers, "--json").json()
    assert again["restored"] == 2
    assert again["chunks"]["embedded"] == 0
    answer = cli("search", "leases", "--no-rerank", "--json").json()
    assert answer["warnings"] == []
    assert len(answer["hits"]) == 2
    assert cli("index", papers, "--json").json()["restored"] == 0


def test_a_damaged_index_is_named_with_the_way_out(cli, papers):
    cli("index", papers)
    for file in (cli.data / "index").rglob("segment.json"):
        file.write_text("no JSON")
    done = cli("search", "leases", "--no-rerank")
    assert done.code == 1
    assert "can't be opened" in done.err
    assert "verify --repair" in done.err
