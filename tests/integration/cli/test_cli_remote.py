"""Commands that a server runs: the owner of the data folder, which they find, or the one that ``--url`` names."""

from __future__ import annotations

import inspect
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from semantik_pipeline.server_discovery import data_folder
from tests.integration.cli.conftest import LEASES, CommandLine


class Served:
    """A command line beside the server of its data folder, and one elsewhere that knows the server's URL and key."""

    restored: dict[str, Any]  # what the first `index` by the server said, whose index was lost before

    def __init__(self, here: CommandLine, elsewhere: CommandLine) -> None:
        self.here = here
        self._elsewhere = elsewhere
        self.server = here.start("serve", "--port", 0)
        note = here.data / "owner.json"
        until = time.monotonic() + 120
        while "url" not in (found := json.loads(note.read_text()) if note.exists() else {}):
            assert self.server.poll() is None and time.monotonic() < until, "no server"
            time.sleep(0.1)
        self.url = found["url"]
        self.key = (here.data / "admin.key").read_text().strip()

    def far(self, *arguments: object, **env: str) -> Any:
        """A command on another host: another data folder, no settings, the URL and the key."""
        return self._elsewhere(*arguments, **{"SEMANTIK_URL": self.url, "SEMANTIK_API_KEY": self.key, **env})

    def close(self) -> None:
        self.server.send_signal(signal.SIGTERM)
        self.server.communicate(timeout=60)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, installed_fakes: Path) -> Iterator[Served]:
    """A server over three documents; tests that change something use a collection of their own."""
    folder = tmp_path_factory.mktemp("served")
    here = CommandLine(folder, installed_fakes)
    elsewhere = CommandLine(tmp_path_factory.mktemp("elsewhere"), installed_fakes)
    papers = folder / "papers"
    papers.mkdir()
    (papers / "leases.md").write_text(LEASES)
    (papers / "queues.txt").write_text("A queue hands work to workers.\n")
    (papers / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing of a PDF follows\n")
    done = here("index", papers, "--json")
    assert done.code == 3, done.err
    shutil.rmtree(here.data / "index")
    found = Served(here, elsewhere)
    found.restored = here("index", papers, "--json").json()
    yield found
    found.close()


def test_a_search_is_answered_by_the_server_that_owns_the_folder(served: Served, indexed: CommandLine) -> None:
    alone = indexed("search", "when does a lease expire", "--json").json()
    for command in (served.here, served.far):
        done = command("search", "when does a lease expire", "--json")
        assert done.code == 0, done.err
        answer = done.json()
        assert set(answer) == set(alone)
        assert set(answer["hits"][0]) == set(alone["hits"][0])
        assert [hit["document"].rsplit("/", 1)[1] for hit in answer["hits"]] == [
            hit["document"].rsplit("/", 1)[1] for hit in alone["hits"]
        ]
    people = served.far("search", "when does a lease expire")
    assert "A lease expires when its holder stops renewing it." in people.out
    none = '{"must": [{"key": "media_type", "match": {"value": "no/such"}}]}'
    assert "matches both the query and the filter" in served.here("search", "lease", "--filter", none).out


def test_what_an_index_has_lost_is_written_again_by_the_server_that_owns_the_folder(served: Served) -> None:
    first = served.restored
    assert (first["restored"], first["chunks"]["embedded"], first["documents"]["unchanged"]) == (2, 0, 3)
    assert served.here("index", served.here.data.parent / "papers", "--json").json()["restored"] == 0
    assert served.here("verify", "--json").json()["clean"] is True


def shape(value: Any, depth: int = 4) -> Any:
    """The fields of an answer, down to some depth; of a list those of its first entry.

    Generations are left out, because the API shows less of them than the ledger's row has, and so are the details of
    audit entries, because they depend on the event.
    """
    if isinstance(value, dict) and "fingerprints" not in value and "retire_at" not in value:
        return {name: shape(inner, depth - 1) if depth and name != "detail" else ... for name, inner in value.items()}
    return [shape(value[0], depth)] if isinstance(value, list) and value and depth else ...


LOOKS = [
    "documents list",
    "documents list --status quarantined",
    "documents show leases.md",
    "operations list",
    "operations show 1",
    "collections list",
    "collections show default",
    "sources list",
    "sources show papers",
    "plugins show fake-embedder",
    "plugins health fake-embedder",
    "reindex default --dry-run",
    "reindex default --dry-run --where status=quarantined",
    "verify",
    "verify --collection default --repair",
    "trash",
    "fleet status",
    "status",
    "audit",
]


@pytest.mark.parametrize("command", LOOKS)
def test_a_server_answers_with_the_same_fields(command: str, served: Served, indexed: CommandLine) -> None:
    here, far = indexed(*command.split(), "--json"), served.far(*command.split(), "--json")
    assert far.code == here.code, far.err
    left = {"owner", "workers", "reasons", "changes"}  # a server is an owner and a worker

    def plain(answer: Any) -> Any:
        return {name: inner for name, inner in shape(answer).items() if name not in left}

    assert plain(far.json()) == plain(here.json())
    people = served.far(*command.split())
    assert people.code == here.code, people.err
    assert people.out


def test_every_command_by_a_server_takes_what_its_twin_takes() -> None:
    from semantik_pipeline.cli.app import app
    from semantik_pipeline.cli.routing import REMOTE, remote

    def walk(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
        for command in group.registered_commands:
            yield f"{above}{command.name or command.callback.__name__}", command.callback
        for inner in group.registered_groups:
            yield from walk(inner.typer_instance, f"{above}{inner.name} ")

    commands = dict(walk(app))
    assert set(REMOTE) <= set(commands)
    for name in REMOTE:
        takes = set(inspect.signature(commands[name]).parameters) - {"context"}
        assert takes == set(inspect.signature(remote(name)).parameters) - {"call", "client"}, name


def test_files_are_uploaded_to_a_server_elsewhere_and_forgotten_when_they_are_gone(
    served: Served, tmp_path: Path
) -> None:
    folder = tmp_path / "notes"
    (folder / "sub").mkdir(parents=True)
    (folder / "lanes.md").write_text("# Lanes\n\nA lane is an order of work.\n")
    (folder / "sub" / "bells.txt").write_text("A bell names a stage.\n")
    (folder / "left.log").write_text("not this one\n")
    asked = ("index", folder, "--collection", "far", "--exclude", "*.log", "--json")
    first = served.far(*asked)
    assert first.code == 0, first.err
    assert {"seen": 2, "new": 2, "unchanged": 0}.items() <= first.json()["documents"].items()
    hits = served.far("search", "what is a bell", "--collection", "far", "--json").json()["hits"]
    assert hits[0]["document"] == f"file://{folder}/sub/bells.txt"
    (folder / "sub" / "bells.txt").unlink()
    (folder / "lanes.md").write_text("# Lanes\n\nA lane is another order of work.\n")
    again = served.far(*asked)
    assert again.code == 0, again.err
    assert {"seen": 1, "changed": 1, "deleted": 1}.items() <= again.json()["documents"].items()
    rows = served.far("documents", "list", "--collection", "far", "--json").json()["documents"]
    assert [row["document"] for row in rows] == [f"file://{folder}/lanes.md"]


def test_uploading_obeys_the_plugin_state_and_the_guard_of_here(served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.md").write_text(f"# {number}\n\nA note about {number}.\n")
    asked = ("index", folder, "--collection", "guarded", "--json")
    state = tmp_path / "plugins.json"
    state.write_text(json.dumps({"version": 1, "revision": 1, "disabled_ids": ["directory"], "configs": {}}))
    refused = served.far(*asked, SEMANTIK_PLUGIN_STATE_FILE=str(state))
    assert refused.code == 2 and "disabled" in refused.err
    assert served.far(*asked).json()["documents"]["new"] == 4
    for number in range(3):
        (folder / f"{number}.md").unlink()
    stopped = served.far(*asked, SEMANTIK_SYNC_DELETION_GUARD_COUNT="2")
    assert stopped.code == 2 and "--allow-deletions" in stopped.err
    assert (
        served.far(*asked, "--allow-deletions", SEMANTIK_SYNC_DELETION_GUARD_COUNT="2").json()["documents"]["deleted"]
        == 3
    )


def test_the_server_of_the_folder_syncs_paths_as_sources(served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "lanes.md").write_text("# Lanes\n\nA lane is an order of work.\n")
    for new, unchanged in ((1, 0), (0, 1)):
        done = served.here("index", folder, "--collection", "near", "--json")
        assert done.code == 0, done.err
        assert {"new": new, "unchanged": unchanged}.items() <= done.json()["documents"].items()
    rows = served.here("sources", "list", "--collection", "near", "--json").json()["sources"]
    assert [(row["connector"], row["name"]) for row in rows] == [("directory", str(folder))]


def test_what_is_changed_by_a_server(served: Served, tmp_path: Path) -> None:
    far = served.far
    made = far("collections", "create", "mine", "--set", "chunking.max_tokens=90", "--json")
    assert made.json()["config"]["chunking"]["options"]["max_tokens"] == 90
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "one.md").write_text("# One\n\nOne thing.\n")
    added = far("sources", "add", "directory", folder, "--collection", "mine", "--every", "1h", "--json").json()
    assert added["schedule"]["every"] == 3600
    assert "no option 'colour'" in far("sources", "set", added["id"], "--unset", "colour").err
    changed = far("sources", "set", added["id"], "--jitter", "30s", "--principal", "anna", "--json").json()
    assert (changed["schedule"]["jitter"], changed["principals"]) == (30, ["anna"])
    synced = far("sources", "sync", added["id"], "--wait", "--json")
    assert (synced.code, synced.json()["sources"][0]["outcome"]) == (0, "succeeded")
    dropped = far("documents", "drop", "one.md", "--collection", "mine", "--json")
    assert (dropped.code, dropped.json()["dropped"]) == (0, 1)
    back = far("documents", "restore", "one.md", "--json")
    assert (back.code, back.json()["documents"][0]["status"]) == (0, "indexed")
    again = far("reindex", "mine", "--set", "chunking.max_tokens=80", "--json")
    assert (again.code, again.json()["outcome"]) == (0, "succeeded")
    rolled = far("rollback", "mine", "--json")
    assert rolled.code == 0, rolled.err
    retried = far("documents", "retry", "--json", "--collection", "default")
    assert (retried.code, retried.json()["retried"]) == (3, 1)
    assert far("operations", "retry", "1").code == 0
    key = far("keys", "create", "page", "--collection", "mine", "--json").json()
    assert far("search", "thing", "--collection", "mine", SEMANTIK_API_KEY=key["key"]).code == 0
    assert (
        far(
            "collections",
            "list",
            SEMANTIK_API_KEY=key["key"],
        ).code
        == 0
    )
    assert far("keys", "list", SEMANTIK_API_KEY=key["key"]).code == 1
    assert far("keys", "revoke", "page", "--json").json()["state"] == "revoked"
    assert far("collections", "delete", "mine").code == 0
    assert "collections restore mine" in far("trash").out


def test_a_server_restores_only_what_one_name_names(served: Served, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "two" / name).mkdir(parents=True)
        (tmp_path / "two" / name / "same.txt").write_text(f"in {name}")
    assert served.here("index", tmp_path / "two", "--collection", "pairs").code == 0
    assert served.here("documents", "drop", "a/same.txt", "b/same.txt").code == 0
    both = served.here("documents", "restore", "same.txt")
    assert (both.code, "a/same.txt" in both.err, "b/same.txt" in both.err) == (2, True, True)
    nowhere = served.here("documents", "restore", "a/same.txt", "--collection", "nope")
    assert (nowhere.code, "'nope'" in nowhere.err) == (2, True)
    restored = served.here("documents", "restore", "a/same.txt", "--json")
    assert (restored.code, restored.json()["restored"]) == (0, 1)


def test_the_example_of_the_page_runs(served: Served) -> None:
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text("utf-8").partition("## The Python client")[2]
    told: dict[str, Any] = {"url": served.url, "key": served.key}
    exec(page.partition("```python\n")[2].partition("```")[0], told)
    assert told["progress"]["outcome"] == "succeeded"
    assert told["found"]["hits"][0]["document"] == "travel"
    assert told["names"] == ["travel", "bread.md"]


def test_errors_and_exit_codes_are_the_same(served: Served) -> None:
    for options, named in (
        (["--collection", "nope"], "nope"),
        (["--limit", "0"], "from 1 to 1000"),
        (["--filter", "{"], "JSON"),
    ):
        refused = served.far("search", "lease", *options)
        assert (refused.code, named in refused.err) == (2, True), refused.err
    wrong = served.far("search", "lease", "--json", SEMANTIK_API_KEY="sk_nobody")
    assert (wrong.code, wrong.json()["error"]["type"]) == (1, "Unauthorized")
    other = served.far("search", "lease", "--api-key-env", "OTHER", OTHER=served.key, SEMANTIK_API_KEY="sk_nobody")
    assert other.code == 0, other.err
    broken = served.far("search", "lease", SEMANTIK_API_KEY="sk_ünï")
    assert (broken.code, "SEMANTIK_API_KEY" in broken.err, "ünï" in broken.err) == (2, True, False)
    unset = served.far("search", "lease", "--api-key-env", "NOT_SET")
    assert (unset.code, "NOT_SET" in unset.err) == (2, True)
    away = served.far("search", "lease", "--url", "http://127.0.0.1:9")
    assert (away.code, "does not answer" in away.err) == (1, True)


def test_what_works_on_a_host_itself_refuses_a_url(served: Served) -> None:
    for command in (["worker"], ["migrate"], ["models", "verify"], ["eval", "nowhere"], ["serve"]):
        refused = served.far(*command)
        assert (refused.code, "can't run on the server" in refused.err) == (2, True), refused.err


def test_a_named_server_tells_of_its_own_host(served: Served) -> None:
    found = served.far("doctor", "--json")
    told = {one["check"]: one["status"] for one in found.json()["findings"]}
    assert (found.code, told["ledger"]) == ({"ok": 0, "warning": 3, "broken": 1}[found.json()["status"]], "ok")
    assert "No problems found" in (people := served.far("doctor").out) or "warning" in people
    assert served.far("models", "list", "--json").json()["models_dir"] == str(served.here.data / "models")
    nowhere = served.far("models", "where", "of/nobody")
    assert (nowhere.code, "of/nobody" in nowhere.err) == (1, True)


def test_the_note_of_a_server_that_was_killed_leads_nowhere(cli: CommandLine, papers: Path) -> None:
    cli("index", papers)
    (cli.data / "owner.json").write_text(json.dumps({"pid": 1, "command": "x", "url": "http://127.0.0.1:9"}))
    (cli.data / "admin.key").write_text("sk_x\n")
    assert cli("search", "lease", "--json").code == 0


def test_nothing_heavy_is_imported_for_a_search_by_a_server(served: Served) -> None:
    code = (
        "import sys; from semantik_pipeline.cli.run import run; code = run(sys.argv[1:]);"
        "heavy = {'torch', 'numpy', 'sqlalchemy', 'fastapi', 'celery', 'semantik_pipeline.settings'} & "
        "set(sys.modules);print(code, sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "search", "lease", "--json"],
        env=served.here.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.strip() == "0 []"


@pytest.mark.parametrize("told", ["explicit", "environment", "file", "nothing"])
def test_the_data_folder_is_found_as_the_settings_find_it(
    told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semantik_pipeline.settings import load_settings

    file = tmp_path / "semantik.toml"
    file.write_text(f'data_dir = "{tmp_path}/file"\n' if told != "nothing" else "")
    monkeypatch.setenv("SEMANTIK_CONFIG", str(file))
    monkeypatch.delenv("SEMANTIK_DATA_DIR", raising=False)
    if told in ("explicit", "environment"):
        monkeypatch.setenv("SEMANTIK_DATA_DIR", str(tmp_path / "environment"))
    explicit = tmp_path / "explicit" if told == "explicit" else None
    assert data_folder(None, explicit) == load_settings(None, data_dir=explicit).data_dir
