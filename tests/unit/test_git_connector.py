"""The connector git: over HTTP and from a folder; what a commit's difference says; what is refused, and how."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from dulwich.repo import Repo

from semantik_pipeline.builtin.connectors import git, git_fetching, git_mirror, git_sizes
from semantik_pipeline.builtin.connectors.git import GitConnector
from semantik_pipeline.documents import Checkpoint, Complete, DocumentReference
from semantik_pipeline.errors import (
    CredentialsRejected,
    DocumentGone,
    DocumentUnreadable,
    PluginConfigError,
    ServiceUnavailable,
    SkipDocument,
    TransientError,
)
from semantik_pipeline.testing.connectors import enumerated, fetched, references, removals


class Host:
    """A Git host over HTTP."""

    def __init__(self, repository, serve) -> None:
        from dulwich.server import DictBackend
        from dulwich.web import make_wsgi_chain

        self._git = make_wsgi_chain(DictBackend({"/team/docs": repository.repo}))
        self.pause = 0.0  # seconds before each 8 KB of an answer
        self.server = serve(self._answer)
        self.url = f"{self.server.url}/team/docs"

    def _answer(self, environ, start_response):
        def begin(*given):
            write = start_response(*given)

            def slowly(data: bytes) -> None:
                for at in range(0, len(data), 8192):
                    time.sleep(self.pause)
                    write(data[at : at + 8192])

            return slowly

        return self._git(environ, begin)

    @property
    def packs(self) -> int:
        """How often objects were sent, and not just the names of branches."""
        return sum(path.endswith("git-upload-pack") for path in self.server.requests)


@pytest.fixture
def host(repository, serve) -> Host:
    repository.commit({"a.md": "# A", "b/b.txt": "bee"})
    return Host(repository, serve)


@pytest.fixture
def connector(host, tmp_path) -> Callable[..., GitConnector]:
    def make(**options) -> GitConnector:
        return GitConnector({"url": host.url, "cache_dir": str(tmp_path / "cache"), **options})

    return make


def names(events: list) -> list[str]:
    return [one.unique_id.partition("#")[2] for one in references(events)]


def test_over_http_a_second_run_fetches_what_changed_only(host, connector, repository):
    first = enumerated(connector())
    assert names(first) == ["a.md", "b/b.txt"]
    document = fetched(connector(), references(first)[0])
    assert document.content == b"# A" and document.media_type == "text/markdown"
    assert document.unique_id == f"{host.url}#a.md" and document.file_path == "a.md"
    assert document.metadata["branch"] == "main" and document.metadata["commit_author"].startswith("Ada")
    packs = host.packs
    again = enumerated(connector(), first[-1].cursor)
    assert again == [Complete(full=False, cursor=first[-1].cursor)] and host.packs == packs
    repository.commit({"a.md": None, "A.md": "# A", "c.txt": "sea"})
    events = enumerated(connector(), first[-1].cursor)
    assert sorted(names(events)) == ["A.md", "c.txt"]
    assert [one.unique_id for one in removals(events)] == [f"{host.url}#a.md"]
    assert fetched(connector(), references(events)[-1]).content == b"sea"


def test_the_mirror_is_shared_and_one_commit_deep(host, connector, repository, tmp_path):
    for number in range(5):
        repository.commit({"a.md": f"# A {number}"})
    enumerated(connector())
    packs = host.packs
    assert names(enumerated(connector())) == ["a.md", "b/b.txt"]
    assert host.packs == packs, "the mirror had it all"
    (mirror,) = (tmp_path / "cache").glob("*.git")
    assert (mirror / "shallow").read_text().strip() == repository.repo.refs[b"refs/heads/main"].decode()


def test_a_forced_push_is_a_difference_as_long_as_the_old_commit_is_at_hand(connector, repository, tmp_path):
    first = enumerated(connector())
    repository.repo.refs.remove_if_equals(b"refs/heads/main", None)
    repository.commit({"a.md": None, "n.txt": "new history"})
    events = enumerated(connector(), first[-1].cursor)
    assert names(events) == ["n.txt"] and len(removals(events)) == 1 and not events[-1].full
    elsewhere = connector(cache_dir=str(tmp_path / "another"))
    events = enumerated(elsewhere, first[-1].cursor)
    assert names(events) == ["b/b.txt", "n.txt"] and events[-1].full and events[-1].cursor


def test_a_run_whose_commit_is_lost_begins_again_and_the_next_one_names_everything(
    connector, repository, monkeypatch, tmp_path
):
    monkeypatch.setattr(git, "BATCH", 1)
    checkpoint = next(event for event in enumerated(connector()) if isinstance(event, Checkpoint))
    repository.commit({"a.md": None, "c.txt": "sea"})
    events = enumerated(connector(cache_dir=str(tmp_path / "another")), checkpoint.cursor)
    assert names(events) == ["b/b.txt", "c.txt"] and events[-1] == Complete(full=True, cursor=None)
    middle = next(event for event in events if isinstance(event, Checkpoint))
    rest = enumerated(connector(cache_dir=str(tmp_path / "another")), middle.cursor)
    assert names(rest) == ["c.txt"] and rest[-1] == events[-1]


def test_credentials_are_sent_and_their_refusal_has_its_own_error(host, connector):
    right = "Basic " + base64.b64encode(b"git:s3cret").decode()

    def gate(environ):
        if environ.get("HTTP_AUTHORIZATION") == right:
            return None
        return "401 Unauthorized", [("WWW-Authenticate", 'Basic realm="docs"')]

    host.server.gate = gate
    assert len(references(enumerated(connector(password="s3cret")))) == 2
    for options in ({}, {"username": "ada", "password": "wrong"}):
        with pytest.raises(CredentialsRejected, match="refuses access") as caught:
            enumerated(connector(**options))
        assert "wrong" not in str(caught.value)
    host.server.gate = lambda environ: ("403 Forbidden", [])
    with pytest.raises(CredentialsRejected):
        enumerated(connector())


def test_faults_of_the_host_are_transient_and_say_when_to_come_back(host, connector):
    host.server.gate = lambda environ: ("503 Service Unavailable", [("Retry-After", "17")])
    with pytest.raises(ServiceUnavailable, match="503") as caught:
        enumerated(connector())
    assert caught.value.retry_after == 17
    host.server.close()
    with pytest.raises(ServiceUnavailable, match="can't be reached"):
        enumerated(connector())


def test_what_is_not_there_is_named(host, connector, tmp_path):
    with pytest.raises(PluginConfigError, match=r"no branch or tag 'nope'.*branches: main"):
        enumerated(connector(branch="nope"))
    with pytest.raises(PluginConfigError, match="no Git repository at"):
        enumerated(connector(url=host.url.replace("docs", "other")))
    with pytest.raises(PluginConfigError, match="no Git repository at"):
        GitConnector({"url": str(tmp_path)}).validate_config()
    with pytest.raises(PluginConfigError, match="password"):
        GitConnector({"url": "https://ada:s3cret@example.org/x.git"}).validate_config()


@pytest.mark.parametrize("url", ["ssh://git@127.0.0.1/team/docs.git", "git@127.0.0.1:team/docs.git"])
def test_where_there_is_no_ssh_it_says_so(connector, monkeypatch, tmp_path, url):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PluginConfigError, match="openssh-client"):
        enumerated(connector(url=url))


def test_branches_tags_globs_and_an_empty_repository(repository):
    url = str(repository.path)
    assert enumerated(GitConnector({"url": url})) == [Complete(full=True)]
    first = repository.commit({"docs/a.md": "a", "docs/b.txt": "b", ".ci/c.md": "c", "d.md": "d"})
    repository.repo.refs[b"refs/tags/v1"] = first.encode()
    repository.commit({"docs/a.md": None}, branch="next")
    assert names(enumerated(GitConnector({"url": url}))) == ["d.md", "docs/a.md", "docs/b.txt"]
    assert names(enumerated(GitConnector({"url": url, "branch": "next"}))) == ["d.md", "docs/b.txt"]
    assert names(enumerated(GitConnector({"url": url, "branch": "v1", "include": ["*.md"]}))) == ["d.md", "docs/a.md"]
    assert names(enumerated(GitConnector({"url": url, "exclude": ["docs/"], "hidden": True}))) == [".ci/c.md", "d.md"]


def test_what_is_no_file_is_skipped_with_the_reason(repository):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    repository.commit({"large.bin": pointer, "empty.txt": ""})
    repository.commit({"link.txt": "empty.txt"}, mode=0o120000)
    repository.commit({"module": b"0" * 39 + b"1"}, mode=0o160000)
    plugin = GitConnector({"url": str(repository.path), "max_bytes": 100})
    said = {}
    for reference in references(enumerated(plugin)):
        with pytest.raises(SkipDocument) as caught:
            fetched(plugin, reference)
        said[reference.unique_id.partition("#")[2]] = str(caught.value)
    assert "LFS pointer" in said["large.bin"] and "empty" in said["empty.txt"]
    assert "symbolic link" in said["link.txt"] and "submodule" in said["module"]
    repository.commit({"big.txt": "x" * 101})
    with pytest.raises(DocumentUnreadable, match="101 bytes; the limit is 100"):
        fetched(plugin, DocumentReference(f"{repository.path.as_uri()}#big.txt"))
    with pytest.raises(DocumentGone):
        fetched(plugin, DocumentReference(f"{repository.path.as_uri()}#nothing.txt"))


def in_packs(repository, how: str) -> None:
    """Pack the repository as Git does: every object whole, or all as changes to another."""
    if how != "loose":
        config = ["-c", "pack.window=50" if how == "deltas" else "pack.window=0", "-c", "core.bigFileThreshold=1g"]
        subprocess.run(["git", *config, "-C", str(repository.path), "repack", "-adfq"], check=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="packs are made by the program git")
@pytest.mark.parametrize("how", ["loose", "whole", "deltas"])
def test_the_size_of_an_object_is_read_without_the_object(repository, how):
    rows = [f"row {number} of a long table\n" for number in range(5000)]
    for length in (5000, 4900, 130, 1):
        repository.commit({"table.csv": "".join(rows[:length]), "empty.txt": "", f"{length}.bin": os.urandom(length)})
    in_packs(repository, how)
    with Repo(str(repository.path)) as repo:
        shas = [*repo.object_store]
        assert len(shas) > 10
        assert [git_sizes.size_of(repo, sha) for sha in shas] == [len(repo[sha].as_raw_string()) for sha in shas]
        with pytest.raises(KeyError):
            git_sizes.size_of(repo, b"1" * 40)
        repository.path.rename(repository.path.with_name("elsewhere"))  # as a mirror that is renewed
        packed = [sha for sha in shas if how != "loose"]
        assert [git_sizes.size_of(repo, sha) for sha in packed] == [repo[sha].raw_length() for sha in packed]


@pytest.mark.skipif(shutil.which("git") is None, reason="packs are made by the program git")
@pytest.mark.parametrize("how", ["loose", "whole", "deltas"])
def test_a_file_above_the_limit_is_not_unpacked(repository, how):
    repository.commit({"zeros.bin": bytes(50 * 2**20)})
    repository.commit({"zeros.bin": bytes(51 * 2**20)})
    in_packs(repository, how)
    plugin = GitConnector({"url": str(repository.path), "max_bytes": 50 * 2**20})
    (reference,) = references(enumerated(plugin))
    tracemalloc.start()
    with pytest.raises(DocumentUnreadable, match="53,477,376 bytes"):
        fetched(plugin, reference)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 2**20


def test_documents_that_are_asked_for_by_name_cost_one_question_to_the_remote(host, connector, repository):
    """As by a sync that comes back to what earlier ones could not read."""
    repository.commit({f"{number}.txt": "five" for number in range(9)})
    plugin = connector(max_bytes=3)
    named = references(enumerated(plugin))
    host.server.requests.clear()
    for reference in named:
        with suppress(DocumentUnreadable):
            fetched(plugin, DocumentReference(reference.unique_id))
    assert sum("info/refs" in request for request in host.server.requests) == 1


def test_a_file_that_becomes_a_link_of_the_same_blob_is_a_change(repository):
    plugin = GitConnector({"url": str(repository.path)})
    repository.commit({"a.txt": "b.txt"})
    before = enumerated(plugin)
    repository.commit({"a.txt": "b.txt"}, mode=0o120000)
    (after,) = references(enumerated(plugin, before[-1].cursor))
    assert after.change_hint != references(before)[0].change_hint


def test_many_commits_take_neither_descriptors_nor_packs_for_good(connector, repository, tmp_path):
    plugin, cursor, open_files, packs, full = connector(), None, [], [], 0
    for number in range(60):
        repository.commit({"a.md": f"# A {number}"})
        events = enumerated(plugin, cursor)
        cursor, full = events[-1].cursor, full + events[-1].full
        assert fetched(plugin, references(events)[0]).content == f"# A {number}".encode()
        open_files.append(len(list(Path("/proc/self/fd").iterdir())))
        packs.append(len(list((tmp_path / "cache").glob("*.git/objects/pack/*.pack"))))
    assert max(open_files) - min(open_files) < 10
    assert max(packs) == git_mirror.PACKS and packs.count(1) == 3 and full == 3
    assert not list((tmp_path / "cache").glob("*.git.*[!k]")), "no other folders are left"


def test_a_mirror_that_was_renewed_under_a_run_has_it_begin_again(connector, repository, monkeypatch):
    monkeypatch.setattr(git, "BATCH", 1)
    events = enumerated(connector())
    checkpoint = next(event for event in events if isinstance(event, Checkpoint))
    repository.commit({"a.md": None, "c.txt": "sea"})
    monkeypatch.setattr(git_mirror, "PACKS", 1)
    enumerated(connector())
    assert fetched(connector(), references(events)[1]).content == b"bee", "looked up in the newest commit"
    events = enumerated(connector(), checkpoint.cursor)
    assert names(events) == ["b/b.txt", "c.txt"] and events[-1] == Complete(full=True, cursor=None)


async def until_checkpoint(plugin, cursor=None):
    events = plugin.enumerate(cursor)
    first = await anext(events)
    await events.aclose()
    return first


def test_a_long_fetch_gives_signs_of_life_and_outlives_the_slice(host, connector, repository, monkeypatch):
    monkeypatch.setattr(git, "PULSE", 0.1)
    plugin = connector()
    before = enumerated(plugin)[-1].cursor
    repository.commit({"long.bin": os.urandom(250_000)})
    packs, host.pause = host.packs, 0.05
    assert asyncio.run(until_checkpoint(plugin, before)) == Checkpoint(before)
    events = enumerated(plugin, before)
    assert Checkpoint(before) in events and names(events) == ["long.bin"] and not events[-1].full
    host.pause = 0
    asked = host.packs - packs
    repository.commit({"long.bin": "short"})
    packs = host.packs
    enumerated(plugin, events[-1].cursor)
    assert asked == host.packs - packs, "one fetch for both slices"


def test_a_source_waits_for_another_one_at_its_mirror_but_not_forever(connector, monkeypatch):
    monkeypatch.setattr(git, "PULSE", 0.05)
    monkeypatch.setattr(git_mirror, "TRY", 0.02)
    plugin = connector()
    with plugin._remote.mirror.locked():
        assert asyncio.run(until_checkpoint(plugin)) == Checkpoint(None)
    assert names(enumerated(plugin)) == ["a.md", "b/b.txt"]
    monkeypatch.setattr(git_mirror, "PATIENCE", 0.1)
    with plugin._remote.mirror.locked(), pytest.raises(ServiceUnavailable, match="Another source"):
        enumerated(connector())


def test_a_host_that_falls_silent_is_given_up(host, connector, monkeypatch):
    monkeypatch.setattr(git, "PULSE", 0.05)
    monkeypatch.setattr(git_fetching, "SILENCE", 0.2)
    go_on = threading.Event()
    host.server.gate = lambda environ: go_on.wait(10) and None
    plugin = connector()
    with pytest.raises(ServiceUnavailable, match="sent nothing"):
        enumerated(plugin)
    go_on.set()
    monkeypatch.setattr(git_fetching, "SILENCE", 10)
    for _ in range(100):  # what was given up ends as soon as it hears something
        if threads := [one for one in threading.enumerate() if one.name.startswith("fetch ")]:
            threads[0].join(0.1)
    assert names(enumerated(plugin)) == ["a.md", "b/b.txt"]


def test_objects_that_a_repository_lost_are_not_files_that_are_gone(repository):
    repository.commit({"b/b.txt": "bee"})
    plugin = GitConnector({"url": str(repository.path)})
    (reference,) = references(enumerated(plugin))
    tree = repository.repo[repository.repo[b"refs/heads/main"].tree][b"b"][1].decode()
    (Path(repository.path) / "objects" / tree[:2] / tree[2:]).unlink()
    with pytest.raises(TransientError, match="lacks objects"):
        fetched(plugin, reference)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("git@example.org:team/docs.git", "git@example.org:team/docs.git"),
        ("https://ada@example.org/docs/", "https://example.org/docs"),
        ("/srv/docs", "file:///srv/docs"),
        ("file:///srv/a%20b", "file:///srv/a%20b"),
    ],
)
def test_a_repository_is_known_without_who_asks(url, name):
    assert GitConnector({"url": url})._name == name
