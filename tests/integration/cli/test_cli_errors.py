"""Bad input: one line that names the thing, the way out, the exit code, no traceback; JSON where JSON was asked for."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import suppress

import pytest


def refused(done, code, *words):
    """The command ended with this code, and its error names all the words in one line or with its hint in two."""
    assert done.code == code, done.out + done.err
    assert "Traceback" not in done.err + done.out
    lines = [line for line in done.err.splitlines() if line]
    assert lines[0].startswith("error: ")
    assert len(lines) <= 2
    for word in words:
        assert str(word) in done.err
    return done


def test_a_missing_path(cli, tmp_path):
    refused(cli("index", tmp_path / "no such folder"), 2, "no such folder")


def test_an_unknown_collection(indexed):
    refused(indexed("search", "x", "--collection", "nope"), 2, "'nope'", "default")
    refused(indexed("documents", "list", "--collection", "nope"), 2, "'nope'")
    refused(indexed("verify", "--collection", "nope"), 2, "'nope'")


def test_an_unknown_document(indexed):
    refused(indexed("documents", "show", "nope.txt"), 2, "nope.txt", "documents list")
    refused(indexed("documents", "drop"), 2, "No document is named")


def test_a_name_that_several_documents_end_in(cli, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "two" / name).mkdir(parents=True)
        (tmp_path / "two" / name / "same.txt").write_text(f"in {name}")
    cli("index", tmp_path / "two")
    refused(cli("documents", "drop", "same.txt"), 2, "a/same.txt", "b/same.txt")
    assert cli("documents", "show", "a/same.txt").code == 0
    assert cli("documents", "drop", "a/same.txt", "b/same.txt").code == 0
    refused(cli("documents", "restore", "same.txt"), 2, "a/same.txt", "b/same.txt")
    refused(cli("documents", "restore", "a/same.txt", "--collection", "nope"), 2, "'nope'", "default")
    restored = cli("documents", "restore", "a/same.txt", "--json")
    assert (restored.code, restored.json()["restored"]) == (0, 1)


@pytest.mark.parametrize("command", [("plugins", "show"), ("plugins", "enable"), ("plugins", "health")])
def test_an_unknown_plugin(cli, command):
    refused(cli(*command, "nope"), 2, "'nope'", "plugins list")


def test_unknown_plugins_elsewhere(indexed, papers):
    refused(indexed("search", "x", "--reranker", "nope"), 2, "nope")
    refused(indexed("index", papers, "--connector", "nope"), 2, "nope")
    refused(indexed("plugins", "list", "--type", "nope"), 2, "nope", "parser")


def test_an_unknown_model(cli, tmp_path):
    config = tmp_path / "model.toml"
    config.write_text(
        '[collection.embedding]\nplugin = "dense-local"\n[collection.embedding.options]\nmodel = "/no/m"\n'
    )
    (tmp_path / "a.txt").write_text("text")
    refused(cli("index", tmp_path / "a.txt", "--config", config), 1, "/no/m", "models folder")
    config.write_text('[collection.embedding]\nmodel = "nope/nope"\n')
    refused(cli("index", tmp_path / "a.txt", "--config", config), 2, "nope/nope", "dense-local")


def test_a_model_of_another_dimension(cli, tmp_path):
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "a.txt").write_text("A text.")
    cli("index", papers)
    with sqlite3.connect(cli.data / "ledger.sqlite3") as ledger:
        ledger.execute("update generations set dimension = 32")
    (papers / "b.txt").write_text("Another one.")
    refused(cli("index", papers), 1, "64", "32", "next run that can")


def test_a_disabled_model(cli, tmp_path):
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "a.txt").write_text("A text.")
    cli("index", papers)
    cli("plugins", "disable", "fake-embedder")
    (papers / "b.txt").write_text("Another one.")
    refused(cli("index", papers), 1, "fake-embedder", "disabled")
    cli("plugins", "enable", "fake-embedder")
    assert cli("index", papers, "--json").json()["documents"]["seen"] == 2


def test_a_path_that_is_too_long(cli):
    refused(cli("index", "x" * 300), 1, "too long", "shorter")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 MB; making one is root's privilege."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be made here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.skipif(not shutil.which("mount"), reason="there is no mount")
def test_a_full_disk(cli, papers, small_disk, tmp_path):
    """One line that says so and the way out; and when there is space again, nothing is missing."""
    data = ("--data-dir", small_disk / "data")
    assert cli("index", papers, *data).code == 3
    more = tmp_path / "more"
    more.mkdir()
    for number in range(40):
        (more / f"t{number}.txt").write_text(f"text {number} " * 5000)
    ballast = small_disk / "ballast"
    with suppress(OSError), ballast.open("wb") as file:
        while file.write(bytes(4096)):
            file.flush()
    os.truncate(ballast, ballast.stat().st_size - 200_000)
    done = cli("index", more, *data)
    assert (done.code, "Traceback" in done.err) == (1, False), done.err
    assert "full" in done.err and "Free" in done.err
    ballast.unlink()
    done = cli("index", more, *data, "--json")
    assert done.code == 0, done.out + done.err
    assert done.json()["documents"]["seen"] == 40
    report = cli("verify", *data, "--json").json()
    assert report["documents"] == 42
    assert (report["missing"], report["orphaned"], report["stale"]) == (0, 0, 0)


@pytest.mark.parametrize("query", ["", "  \n"])
def test_an_empty_query(indexed, query):
    refused(indexed("search", query), 2, "query is empty")


def test_a_filter_that_is_no_json(indexed):
    refused(indexed("search", "x", "--filter", '{"must": }'), 2, "not valid JSON", "column 10")
    refused(indexed("search", "x", "--filter", "[1]"), 2, "filter")
    refused(indexed("search", "x", "--filter", '{"nope": 1}'), 2, "nope")


def test_options_that_make_no_sense(indexed):
    refused(indexed("search", "x", "--limit", "0"), 2, "limit")
    refused(indexed("search", "x", "--mode", "nope"), 2, "nope", "--help")
    refused(indexed("search"), 2, "QUERY")
    refused(indexed("nope"), 2, "nope")
    refused(indexed("index", "x", "--nope"), 2, "--nope")
    refused(indexed("search", "x", "--data-dir"), 2, "--data-dir")
    refused(indexed("plugins", "configure", "fake-embedder", "dimension"), 2, "'dimension'", "KEY=VALUE")
    refused(indexed("plugins", "configure", "fake-embedder", "dimension=wide"), 2, "dimension", "wide")
    refused(indexed("plugins", "configure", "openai-compatible", "api_key=sk-1"), 2, "api_key")


@pytest.mark.parametrize("state", ["{", '{"version": 99}', "[]"])
def test_a_corrupt_or_newer_state_file(cli, papers, state):
    cli.data.mkdir()
    (cli.data / "plugins.json").write_text(state)
    refused(cli("index", papers), 1, "plugins.json")
    refused(cli("plugins", "list"), 1, "plugins.json")
    refused(cli("plugins", "disable", "keywords"), 1, "plugins.json")
    assert (cli.data / "plugins.json").read_text() == state


def test_a_settings_file_that_is_wrong(cli, tmp_path):
    refused(cli("status", "--config", tmp_path / "none.toml"), 2, "none.toml")
    wrong = tmp_path / "wrong.toml"
    for content, word in (("[", "wrong.toml"), ("[nope]\n", "nope"), ("[work]\nlease = 'x'\n", "lease")):
        wrong.write_text(content)
        refused(cli("status", "--config", wrong), 2, word)


def test_a_worker_that_can_not_start(cli):
    fleet = {f"SEMANTIK_{name.upper()}_URL": f"{scheme}://127.0.0.1:1" for name, scheme in _SCHEMES.items()}
    done = cli.afresh("worker", "--json", **fleet)
    assert (done.code, done.json()["error"]["message"]) == (1, "This worker can't start."), done.err
    assert "does not answer" in done.err and "Traceback" not in done.err


_SCHEMES = {"database": "postgresql", "broker": "redis", "qdrant": "http"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--data-dir", "", "status"),
        ("--config", "", "status"),
        ("index", ""),
        ("index", ".", " "),
        ("collections", "export", "default", ""),
        ("collections", "import", ""),
        ("models", "pull", "acme/one", "--to", ""),
    ],
)
def test_an_empty_path_is_not_the_current_folder(cli, arguments):
    refused(cli(*arguments), 2, "A path is empty.")
    assert not list(cli.data.glob("ledger*"))


def test_a_data_folder_that_can_not_be_made_or_written(cli, papers, tmp_path):
    (tmp_path / "file").write_text("I am a file")
    refused(cli("index", papers, "--data-dir", tmp_path / "file" / "below"), 2, tmp_path / "file", "--data-dir")
    refused(cli("status", "--data-dir", tmp_path / "file"), 2, tmp_path / "file", "--data-dir")
    if os.geteuid() != 0:  # root may write anywhere
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        refused(cli("status", "--data-dir", locked), 2, locked)


def test_a_ledger_of_another_schema(cli, papers):
    cli("index", papers)
    ledger = cli.data / "ledger.sqlite3"

    def pretend(version: str) -> None:
        with sqlite3.connect(ledger) as connection:
            connection.execute("update alembic_version set version_num = ?", (version,))

    pretend("9999")
    refused(cli("search", "x"), 1, ledger, "9999", "newer")
    refused(cli("migrate"), 1, ledger, "9999", "newer")
    pretend("0000")
    refused(cli("status"), 1, ledger, "0000", "semantik migrate")


def test_migrating_what_is_migrated_does_nothing(indexed):
    done = indexed("migrate", "--json")
    assert (done.code, done.json()["migrated"]) == (0, False)


def test_a_file_that_is_no_ledger(cli):
    cli.data.mkdir()
    (cli.data / "ledger.sqlite3").write_text("this is no database, however long one looks at it" * 50)
    done = cli("status")
    refused(done, 1, "not a database")


HOLDER = """
import sys
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
with Runtime(load_settings(data_dir=sys.argv[1])) as runtime, runtime.own():
    runtime.store
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_a_data_folder_in_use(cli, papers):
    cli("index", papers)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(cli.data)], env=cli.environment, stdin=-1, stdout=-1, text=True
    )
    try:
        assert holder.stdout.readline() == "mine\n"
        for command in (
            ("index", papers),
            ("search", "lease"),
            ("documents", "retry"),
            ("documents", "drop", "leases.md"),
            ("verify",),
            ("verify", "--repair"),
            ("migrate",),
        ):
            refused(cli(*command), 1, cli.data, f"process {holder.pid}")
        assert cli("status", "--json").json()["owner"]["pid"] == holder.pid
        assert cli("documents", "list").code == 0
        assert cli("documents", "show", "leases.md").code == 0
    finally:
        holder.communicate("")
    assert cli("index", papers, "--json").json()["documents"]["unchanged"] == 3
    assert cli("status", "--json").json()["owner"] is None


def test_errors_are_json_where_json_was_asked_for(cli, indexed, tmp_path):
    for arguments, kind, code in (
        (("index", tmp_path / "none"), "UsageError", 2),
        (("search", "--nope", "x"), "UsageError", 2),
        (("search", "x", "--data-dir"), "UsageError", 2),
        (("plugins", "show", "nope"), "PluginNotFoundError", 2),
    ):
        done = cli(*arguments, "--json")
        assert done.code == code
        error = done.json()["error"]
        assert set(error) == {"type", "message", "hint"}
        assert error["type"] == kind
        assert error["message"]


def test_what_nobody_foresaw_is_one_line_too(cli, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import semantik_pipeline.settings as s\ndef broken(*a, **k): raise KeyError('odd')\ns.load_settings = broken\n"
    )
    path = f"{tmp_path}:{cli.environment['PYTHONPATH']}"
    done = cli.afresh("status", PYTHONPATH=path)
    refused(done, 1, "KeyError", "--verbose")
    loud = cli.afresh("status", "--verbose", PYTHONPATH=path)
    assert loud.code == 1
    assert "Traceback" in loud.err
