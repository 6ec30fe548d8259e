"""Access to a repository: a local one is read in place, a remote one through a bare mirror in a cache folder."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from semantik_pipeline.builtin.connectors import git_tree
from semantik_pipeline.builtin.connectors.file_uri import path_of, uri_of
from semantik_pipeline.builtin.connectors.git_faults import Answers, meaning
from semantik_pipeline.builtin.connectors.git_mirror import Mirror
from semantik_pipeline.errors import PluginConfigError

if TYPE_CHECKING:
    from dulwich.repo import Repo

#: ``user@host:path``, as ssh's tools write it.
_SCP = re.compile(r"^(?:[^/@:]+@)?[^/:]+:(?!//)")


@dataclass(frozen=True, kw_only=True)
class Tip:
    """The tip of a branch: the branch's name and its commit."""

    branch: str
    commit: bytes


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A repository by URL or path, with the credentials to read it. ``timeout`` is in seconds."""

    url: str
    cache: Path
    username: str | None = None
    password: str | None = None
    timeout: float = 60.0

    @property
    def name(self) -> str:
        """The URL without credentials. For a local path, it is a ``file://`` URI."""
        if (local := self.folder) is not None:
            return uri_of(str(local))
        return re.sub(r"^(https?://)[^/@]*@", r"\1", self.url).rstrip("/")

    @property
    def folder(self) -> Path | None:
        """The path of a local repository; None for a remote one."""
        if self.url.startswith("file://"):
            return Path(path_of(self.url))
        if "://" in self.url or (_SCP.match(self.url) and not Path(self.url).exists()):
            return None
        return Path(os.path.abspath(os.path.expanduser(self.url)))  # noqa: PTH100, PTH111 -- links stay as written

    def check(self) -> None:
        """Raise PluginConfigError if the URL contains a password, or a local repository does not exist."""
        if urlsplit(self.url).password if "://" in self.url else False:
            raise PluginConfigError(
                "The URL of the repository contains a password.",
                "Remove it from the URL, and set password_env to the name of an environment variable that contains it.",
            )
        if self.folder is not None:
            self._open_local(self.folder).close()

    def open(self) -> Repo:
        """The repository that contains the objects. The caller has to close it."""
        return self.mirror.open() if self.folder is None else self._open_local(self.folder)

    @property
    def mirror(self) -> Mirror:
        digest = hashlib.sha256(self.name.encode()).hexdigest()[:16]
        last = re.sub(r"[^\w.-]+", "-", self.name.rstrip("/").rpartition("/")[2])[:40]
        return Mirror(path=self.cache / f"{last}-{digest}.git")

    def tip(self, branch: str | None, moves: Callable[[], None]) -> Tip | None:
        """Fetch the current tip of the branch, so that its objects are in the repository of :meth:`open`.

        ``branch`` None means the remote's HEAD. Returns None if the repository is empty. ``moves`` is called whenever
        something was received, indexed or waited for; an exception from it ends the fetch. Raises PluginConfigError (no
        such repository or branch), CredentialsRejected and ServiceUnavailable.
        """
        if self.folder is not None:
            with closing(self._open_local(self.folder)) as repo:
                return _of_commit(repo, self._tip_among(repo.get_refs(), repo.refs.get_symrefs(), branch))
        with self.mirror.written(moves) as repo:
            return _of_commit(repo, self._fetch(repo, branch, moves))

    def _fetch(self, repo: Any, branch: str | None, moves: Callable[[], None]) -> Tip | None:
        """Fetch the tip one commit deep. Changes are found by comparing two trees, which needs no history."""

        def wants(refs: dict[Any, Any], depth: int | None = None) -> list[bytes]:
            shown = {name: sha for name, sha in refs.items() if sha is not None}
            tip = self._tip_among(shown, {}, branch)
            return [] if tip is None or tip.commit in repo.object_store else [tip.commit]

        try:
            client, path = self._client()
            answer = client.fetch(path, repo, determine_wants=wants, depth=1, progress=lambda _: moves())
        except Exception as error:
            raise meaning(error, self.name) from error
        tip = self._tip_among({k: v for k, v in answer.refs.items() if v is not None}, answer.symrefs, branch)
        if tip is not None:
            # The next fetch reports this ref to the remote, which then sends only new objects.
            repo.refs[b"refs/heads/" + tip.branch.encode()] = tip.commit
        return tip

    def _tip_among(self, refs: Any, symrefs: Any, branch: str | None) -> Tip | None:
        if branch is None:
            if b"HEAD" not in refs:
                return None
            name = symrefs.get(b"HEAD", b"HEAD").removeprefix(b"refs/heads/").decode("utf-8", "replace")
            return Tip(branch=name, commit=refs[b"HEAD"])
        for kind in (b"refs/heads/", b"refs/tags/"):
            if (name := kind + branch.encode()) in refs:
                return Tip(branch=branch, commit=refs[name])
        known = [name.removeprefix(b"refs/heads/").decode("utf-8", "replace") for name in sorted(refs)]
        branches = ", ".join(name for name in known if not name.startswith(("refs/", "HEAD"))) or "none"
        raise PluginConfigError(
            f"There is no branch or tag {branch!r} in {self.name}.", f"It has the branches: {branches}."
        )

    def _client(self) -> tuple[Any, str]:
        from dulwich.client import default_urllib3_manager, get_transport_and_path

        pool: Any = Answers(default_urllib3_manager(None, base_url=self.url, timeout=self.timeout), self.name)
        return get_transport_and_path(
            self.url,
            operation="pull",
            quiet=True,
            username=self.username,
            password=self.password,
            # BatchMode: nobody could answer a prompt. ServerAliveInterval: notices dead connections.
            ssh_command="ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=20",
            pool_manager=pool,
        )

    def _open_local(self, folder: Path) -> Repo:
        from dulwich.errors import NotGitRepository
        from dulwich.repo import Repo

        try:
            return Repo(str(folder))
        except (NotGitRepository, OSError) as error:
            raise PluginConfigError(f"There is no Git repository at {folder}.", "Check the url.") from error


def _of_commit(repo: Repo, tip: Tip | None) -> Tip | None:
    """The tip with the commit itself, if its id is that of a tag."""
    return tip and replace(tip, commit=git_tree.commit_of(repo, tip.commit).id)
