"""Commands by a server: the one that owns the data folder, which they find by themselves, and one that ``--url`` names."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from semantik_pipeline.surroundings import data_folder
from tests.integration.cli.conftest import LEASES, CommandLine


class Served:
    """A command line beside the server of its data folder, and one elsewhere that knows the server's URL and key."""

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
    found = Served(here, elsewhere)
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
    assert "passes the filter" in served.here("search", "lease", "--filter", none).out


def test_errors_and_exit_codes_are_the_same(served: Served) -> None:
    for options, named in (
        (["--collection", "nope"], "nope"),
        (["--limit", "0"], "top_k"),
        (["--filter", "{"], "JSON"),
    ):
        refused = served.far("search", "lease", *options)
        assert (refused.code, named in refused.err) == (2, True), refused.err
    wrong = served.far("search", "lease", "--json", SEMANTIK_API_KEY="sk_nobody")
    assert (wrong.code, wrong.json()["error"]["type"]) == (1, "Unauthorized")
    other = served.far("search", "lease", "--api-key-env", "OTHER", OTHER=served.key, SEMANTIK_API_KEY="sk_nobody")
    assert other.code == 0, other.err
    unset = served.far("search", "lease", "--api-key-env", "NOT_SET")
    assert (unset.code, "NOT_SET" in unset.err) == (2, True)
    away = served.far("search", "lease", "--url", "http://127.0.0.1:9")
    assert (away.code, "does not answer" in away.err) == (1, True)


def test_what_works_on_a_host_itself_refuses_a_url(served: Served) -> None:
    for command in (["worker"], ["migrate"], ["models", "list"], ["doctor"], ["serve"]):
        refused = served.far(*command)
        assert (refused.code, "on the host itself" in refused.err) == (2, True), refused.err


def test_the_note_of_a_server_that_was_killed_leads_nowhere(cli: CommandLine, papers: Path) -> None:
    cli("index", papers)
    (cli.data / "owner.json").write_text(json.dumps({"pid": 1, "command": "x", "url": "http://127.0.0.1:9"}))
    (cli.data / "admin.key").write_text("sk_x\n")
    assert cli("search", "lease", "--json").code == 0


def test_nothing_heavy_is_imported_for_a_search_by_a_server(served: Served) -> None:
    code = (
        "import sys; from semantik_pipeline.cli.run import run; code = run(sys.argv[1:]);"
        "heavy = {'torch', 'numpy', 'sqlalchemy', 'fastapi', 'celery', 'semantik_pipeline.settings'} & set(sys.modules);"
        "print(code, sorted(heavy), file=sys.stderr)"
    )
    import subprocess
    import sys

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
