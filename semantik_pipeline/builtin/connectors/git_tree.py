"""The contents of a commit, and the differences between two: pure functions of a repository's objects."""

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

#: The beginning of a Git LFS pointer. A pointer is never longer than a kilobyte.
_LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file, link or submodule at a path. If ``sha`` is None, it is gone."""

    path: bytes
    mode: int = 0
    sha: bytes | None = None

    @property
    def hint(self) -> str | None:
        """The blob id. If the entry is not a file, the mode is added, because a link may have the same blob as a
        file."""
        if self.sha is None:
            return None
        return self.sha.decode() if stat.S_ISREG(self.mode) else f"{self.mode:o}-{self.sha.decode()}"


def commit_of(repo: Repo, sha: bytes) -> Commit:
    """The commit with this id, or the one to which the tag with this id refers. Raises KeyError if it does not
    exist."""
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
    """Yield everything in a commit's tree, in the tree's order."""
    for found in repo.object_store.iter_tree_contents(commit_of(repo, commit).tree):
        yield Entry(path=found.path, mode=found.mode, sha=found.sha)


def changes(repo: Repo, before: bytes, after: bytes) -> Iterator[Entry]:
    """Yield what is new, changed or gone from one commit to another, in the trees' order. A rename is a new path and a
    gone one."""
    from dulwich.diff_tree import tree_changes

    trees = commit_of(repo, before).tree, commit_of(repo, after).tree
    for change in tree_changes(repo.object_store, *trees, change_type_same=True):
        if change.new is not None and change.new.path is not None:
            yield Entry(path=change.new.path, mode=change.new.mode, sha=change.new.sha)
        elif change.old is not None:
            yield Entry(path=change.old.path)


@contextmanager
def at_hand(repo: Repo) -> Iterator[None]:
    """Raise TransientError for an object that is no longer in the repository, because it is not gone from the
    source."""
    try:
        yield
    except KeyError as error:
        raise TransientError(
            f"{repo.path} lacks objects that it had before: it was replaced in the meantime, or is damaged."
        ) from error


def entry_at(repo: Repo, commit: bytes, path: bytes) -> Entry | None:
    """The entry at a path of a commit; None if there is none or it is a folder. Raises TransientError if the repository
    lacks one of the commit's trees."""
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
    """Why an entry is not a readable file; None if it is one."""
    if entry.mode == 0o160000:
        return "is a submodule; index its repository as a separate source"
    if stat.S_ISLNK(entry.mode):
        return "is a symbolic link"
    return None


def why_no_content(content: bytes) -> str | None:
    """Why a blob cannot be indexed; None if it can."""
    if not content:
        return "is empty"
    if len(content) < 1024 and content.startswith(_LFS):
        return "is a Git LFS pointer; its content is not in the repository"
    return None


def about(commit: Commit) -> dict[str, str]:
    """Metadata of the commit that was read. This is not necessarily the commit that last changed a file, because
    finding that one would require the history. The time is the committer's."""
    return {
        "commit": commit.id.decode(),
        "commit_author": commit.author.decode("utf-8", "replace"),
        "commit_time": datetime.fromtimestamp(commit.commit_time, UTC).isoformat(timespec="seconds"),
    }
