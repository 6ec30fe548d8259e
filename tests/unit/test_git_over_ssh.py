"""The connector git over ssh: a program ``ssh`` on the path does what a host would, without a network between."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from semantik_pipeline.builtin.connectors.git import GitConnector
from semantik_pipeline.documents import Complete
from semantik_pipeline.errors import CredentialsRejected, PermanentError, PluginConfigError, ServiceUnavailable
from semantik_pipeline.testing.connectors import enumerated, fetched, references, removals

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the host's side is the program git-upload-pack")

#: Notes its arguments, a line for each call, and runs the last one in the home of the host's user, as sshd would, with
#: the variable that it is to set, unless there is a file ``old``; or says what the file ``refusal`` has, and ends as
#: ssh does where it does not get in.
SSH = """#!/bin/sh
echo "$@" >> {home}/calls
if [ -e {home}/refusal ]; then cat {home}/refusal >&2; exit 255; fi
for command; do
    case "$command" in "SetEnv "*) [ -e {home}/old ] || export "${{command#SetEnv }}" ;; esac
done
cd {home} && exec sh -c "$command"
"""


class Host:
    """A host that is reached by ssh alone. Its user's home has the repository ``repository.git``."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def calls(self) -> list[str]:
        """The arguments of each call since this was asked last."""
        noted = self.home / "calls"
        lines = noted.read_text().splitlines() if noted.exists() else []
        noted.unlink(missing_ok=True)
        return lines

    def speak_old(self) -> None:
        """It lets no variable in, so Git speaks its first protocol."""
        (self.home / "old").touch()

    def refuse(self, words: str) -> None:
        (self.home / "refusal").write_text(words + "\n")


@pytest.fixture
def host(repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    repository.commit({"a.md": "# A", "b/b.txt": "bee"})
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ssh").write_text(SSH.format(home=tmp_path))
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    return Host(tmp_path)


@pytest.fixture
def connector(tmp_path: Path) -> Callable[[str], GitConnector]:
    return lambda url: GitConnector({"url": url, "cache_dir": str(tmp_path / "cache")})


@pytest.mark.parametrize(
    ("url", "port", "asked", "old"),
    [
        ("ssh://git@docs.test{path}", None, "git@docs.test git-upload-pack '{path}'", False),
        ("ssh://git@docs.test{path}", None, "git@docs.test git-upload-pack '{path}'", True),
        ("ssh://git@docs.test:2222{path}", "2222", "git@docs.test git-upload-pack '{path}'", False),
        ("git@docs.test:repository.git", None, "git@docs.test git-upload-pack 'repository.git'", False),
        ("docs.test:repository.git", None, "docs.test git-upload-pack 'repository.git'", False),
    ],
)
def test_a_repository_is_fetched_and_then_what_changed(host, connector, repository, url, port, asked, old):
    if old:
        host.speak_old()
    url, asked = (one.format(path=repository.path) for one in (url, asked))
    first = enumerated(connector(url))
    assert [one.unique_id for one in references(first)] == [f"{url}#a.md", f"{url}#b/b.txt"]
    assert fetched(connector(url), references(first)[0]).content == b"# A"
    [call, *_] = host.calls()
    assert call.endswith(f" {asked}") and (f" -p {port} " in call if port else " -p " not in call)
    assert "BatchMode=yes" in call, "nobody is there to be asked"
    again = enumerated(connector(url), first[-1].cursor)
    assert again == [Complete(full=False, cursor=first[-1].cursor)]
    repository.commit({"a.md": None, "c.txt": "sea"})
    last = enumerated(connector(url), first[-1].cursor)
    assert [one.unique_id for one in references(last)] == [f"{url}#c.txt"]
    assert [one.unique_id for one in removals(last)] == [f"{url}#a.md"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("git@docs.test: Permission denied (publickey).", CredentialsRejected),
        ("Host key verification failed.", PermanentError),
        ("ERROR: Repository not found.", PluginConfigError),
        ("ssh: connect to host docs.test port 22: Connection refused", ServiceUnavailable),
        ("ssh: Could not resolve hostname docs.test: Name or service not known", ServiceUnavailable),
    ],
)
def test_what_ssh_says_has_its_own_error(host, connector, words, error):
    host.refuse(words)
    with pytest.raises(error, match=r"docs\.test") as caught:
        enumerated(connector("git@docs.test:repository.git"))
    assert type(caught.value) is error


def test_a_repository_that_the_host_does_not_have_is_named(host, connector):
    with pytest.raises(PluginConfigError, match=r"no Git repository at git@docs\.test:other\.git"):
        enumerated(connector("git@docs.test:other.git"))
