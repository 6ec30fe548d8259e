"""The connector git: over HTTP and from a folder; what a commit's difference says; what is refused, and how."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from semantik_pipeline.builtin.connectors import git
from semantik_pipeline.builtin.connectors.git import GitConnector
from semantik_pipeline.documents import Checkpoint, Complete, DocumentReference
from semantik_pipeline.errors import (
    CredentialsRejected,
    DocumentGone,
    PermanentError,
    PluginConfigError,
    ServiceUnavailable,
    SkipDocument,
)
from semantik_pipeline.testing.connectors import enumerated, fetched, references, removals


class Host:
    """A Git host over HTTP."""

    def __init__(self, repository, serve) -> None:
        from dulwich.server import DictBackend
        from dulwich.web import make_wsgi_chain

        self.server = serve(make_wsgi_chain(DictBackend({"/team/docs": repository.repo})))
        self.url = f"{self.server.url}/team/docs"

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
    assert document.metadata["branch"] == "main" and document.metadata["author"].startswith("Ada")
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
        with pytest.raises(CredentialsRejected, match="does not let us in") as caught:
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
    plugin = GitConnector({"url": str(repository.path), "max_bytes": 3})
    said = {}
    for reference in references(enumerated(plugin)):
        with pytest.raises(SkipDocument) as caught:
            fetched(plugin, reference)
        said[reference.unique_id.partition("#")[2]] = str(caught.value)
    assert "LFS pointer" in said["large.bin"] and "empty" in said["empty.txt"]
    assert "symbolic link" in said["link.txt"] and "submodule" in said["module"]
    repository.commit({"big.txt": "four"})
    with pytest.raises(PermanentError, match="limit is 3"):
        fetched(plugin, DocumentReference(f"{repository.path.as_uri()}#big.txt"))
    with pytest.raises(DocumentGone):
        fetched(plugin, DocumentReference(f"{repository.path.as_uri()}#nothing.txt"))


def test_a_file_that_becomes_a_link_of_the_same_blob_is_a_change(repository):
    plugin = GitConnector({"url": str(repository.path)})
    repository.commit({"a.txt": "b.txt"})
    before = enumerated(plugin)
    repository.commit({"a.txt": "b.txt"}, mode=0o120000)
    (after,) = references(enumerated(plugin, before[-1].cursor))
    assert after.change_hint != references(before)[0].change_hint


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
