"""What a commit holds, and what differs between two: pure functions of a repository's objects."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import TransientError

if TYPE_CHECKING:
    from dulwich.objects import Commit
    from dulwich.repo import Repo

#: How a pointer of Git LFS begins; a pointer is never longer than a kilobyte.
_LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file, link or submodule at a path; ``sha`` None: it is gone."""

    path: bytes
    mode: int = 0
    sha: bytes | None = None

    @property
    def hint(self) -> str | None:
        """The blob id; where it is no file, with its mode, for a link may have the blob of a file."""
        if self.sha is None:
            return None
        return self.sha.decode() if stat.S_ISREG(self.mode) else f"{self.mode:o}-{self.sha.decode()}"


def commit_of(repo: Repo, sha: bytes) -> Commit:
    """The commit of this id, or that a tag of this id names. Raises KeyError if it is not here."""
    from dulwich.objects import Commit, Tag

    found = repo[sha]
    while isinstance(found, Tag):
        found = repo[found.object[1]]
    if not isinstance(found, Commit):
        raise KeyError(sha)
    return found


def has_commit(repo: Repo, sha: bytes) -> bool:
    try:
        return commit_of(repo, sha).tree in repo.object_store
    except KeyError:
        return False


def listing(repo: Repo, commit: bytes) -> Iterator[Entry]:
    """Everything in a commit's tree, in the tree's order."""
    for found in repo.object_store.iter_tree_contents(commit_of(repo, commit).tree):
        yield Entry(path=found.path, mode=found.mode, sha=found.sha)


def changes(repo: Repo, before: bytes, after: bytes) -> Iterator[Entry]:
    """What is new, changed or gone from one commit to another, in the trees' order. A rename is both."""
    from dulwich.diff_tree import tree_changes

    trees = commit_of(repo, before).tree, commit_of(repo, after).tree
    for change in tree_changes(repo.object_store, *trees, change_type_same=True):
        if change.new is not None and change.new.path is not None:
            yield Entry(path=change.new.path, mode=change.new.mode, sha=change.new.sha)
        elif change.old is not None:
            yield Entry(path=change.old.path)


@contextmanager
def at_hand(repo: Repo) -> Iterator[None]:
    """An object that is not in the repository any more raises TransientError: it is not gone from the source."""
    try:
        yield
    except KeyError as error:
        raise TransientError(
            f"{repo.path} lacks objects that it had: it was renewed meanwhile, or is damaged."
        ) from error


def entry_at(repo: Repo, commit: bytes, path: bytes) -> Entry | None:
    """What a commit has at a path, if that is no folder. Raises TransientError if one of its trees is not here."""
    from dulwich.object_store import tree_lookup_path
    from dulwich.objects import SubmoduleEncountered

    def tree(sha: bytes) -> Any:
        with at_hand(repo):
            return repo[sha]

    with at_hand(repo):
        root = commit_of(repo, commit).tree
    try:
        mode, sha = tree_lookup_path(tree, root, path)
    except (KeyError, SubmoduleEncountered):
        return None
    return None if stat.S_ISDIR(mode) else Entry(path=path, mode=mode, sha=sha)


def why_no_file(entry: Entry) -> str | None:
    """Why there is nothing to read in an entry."""
    if entry.mode == 0o160000:
        return "is a submodule; index its repository as a source of its own"
    if stat.S_ISLNK(entry.mode):
        return "is a symbolic link"
    return None


def why_no_content(content: bytes) -> str | None:
    """Why a blob is nothing to index."""
    if not content:
        return "is empty"
    if len(content) < 1024 and content.startswith(_LFS):
        return "is a Git LFS pointer; its content is not in the repository"
    return None


def about(commit: Commit) -> dict[str, str]:
    """Metadata of the commit that was read, which need not be the one that last changed a file: that would take the
    history. The time is the committer's."""
    return {
        "commit": commit.id.decode(),
        "commit_author": commit.author.decode("utf-8", "replace"),
        "commit_time": datetime.fromtimestamp(commit.commit_time, UTC).isoformat(timespec="seconds"),
    }
