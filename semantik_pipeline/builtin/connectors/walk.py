"""The walk over a folder. Its order allows a cursor to resume it, it opens no files, and it holds only the listings of
the folders on the current path in memory."""

# ruff: noqa: PTH110, PTH116, PTH118, PTH120, PTH206
# Paths are kept as strings, as the system gives them: exact to the byte, and fast for tens of thousands of files.

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from semantik_pipeline.builtin.connectors.file_uri import readable
from semantik_pipeline.builtin.connectors.globs import Parts, PathRules

#: Files that every data folder in use has. The owner's lock is first, because each folder is checked for the first one.
DATA_FOLDER_HAS = ("owner.lock", "ledger.sqlite3")


#: The mode bits that let the owner, the group and others read.
EVERY_READER = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH


@dataclass(frozen=True, kw_only=True)
class Found:
    """An entry that is not a folder. ``size``, ``mtime_ns`` and ``mode`` (file type and permissions) are None if it is
    not a regular file, or its ``stat`` failed."""

    path: str
    parts: Parts
    size: int | None = None
    mtime_ns: int | None = None
    mode: int | None = None

    @property
    def change_hint(self) -> str | None:
        """Size and modification time, and the read permissions if not everybody may read the file, so that a file that
        becomes readable again is fetched again."""
        if self.size is None or self.mode is None:
            return None
        readers = self.mode & EVERY_READER
        return f"{self.size}-{self.mtime_ns}" + ("" if readers == EVERY_READER else f"-{readers:o}")


@dataclass(frozen=True, kw_only=True)
class WalkRules(PathRules):
    """Which entries the walk yields."""

    recursive: bool = True
    follow_symlinks: bool = True


@dataclass
class Walk:
    """Walks depth first, with names sorted within each folder.

    A link to a file within the root is yielded like a file. A link to a folder within the root is followed only if the
    walk does not reach that folder anyway (because it is hidden or excluded there), so that nothing is yielded twice
    and loops end. A link that leaves the root is yielded without a size, and is never followed. Data folders of this
    program are skipped. ``problems`` lists the folders that could not be read.
    """

    root: str
    rules: WalkRules
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._real_root = os.path.realpath(self.root)

    def found(self, after: Parts = ()) -> Iterator[Found]:
        """Yield all wanted entries that come after ``after``."""
        stack: list[tuple[Parts, Iterator[os.DirEntry[str]], Parts]] = [
            ((), iter(self._listing(self.root, after)), after)
        ]
        while stack:
            parts, entries, resume = stack[-1]
            entry = next(entries, None)
            if entry is None:
                stack.pop()
                continue
            here = (*parts, entry.name)
            behind = resume[1:] if resume[:1] == (entry.name,) else ()
            if self._is_folder_to_enter(entry, here):
                stack.append((here, iter(self._listing(entry.path, behind)), behind))
            elif (resume[:1] != (entry.name,) or behind) and (one := self._judge(entry, here)):
                yield one

    def _listing(self, folder: str, resume: Parts) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.problems.append(f"{readable(folder)}: {error.strerror or error}")
            return []
        return [entry for entry in listed if entry.name >= resume[0]] if resume else listed

    def _is_folder_to_enter(self, entry: os.DirEntry[str], here: Parts) -> bool:
        if not self.rules.recursive or not _is_folder(entry) or self._kept_out(here, folder=True):
            return False
        if is_data_folder(entry.path):
            return False
        return not entry.is_symlink() or self._leads_to_folder_not_walked(entry, here)

    def _leads_to_folder_not_walked(self, entry: os.DirEntry[str], here: Parts) -> bool:
        if not self.rules.follow_symlinks:
            return False
        real = os.path.realpath(entry.path)
        if not is_within(real, self._real_root) or real == self._real_root:
            return False
        if not self.rules.keeps_out(tuple(os.path.relpath(real, self._real_root).split(os.sep)), folder=True):
            return False
        return not is_within(os.path.realpath(os.path.dirname(entry.path)), real)

    def _judge(self, entry: os.DirEntry[str], here: Parts) -> Found | None:
        if self._kept_out(here, folder=False) or not self.rules.wanted("/".join(here)):
            return None
        leaves = False
        if entry.is_symlink():
            leaves = not is_within(os.path.realpath(entry.path), self._real_root)
            if not self.rules.follow_symlinks or (_is_folder(entry) and not leaves):
                return None
        elif _is_folder(entry):
            return None
        found = describe(entry.path, here, refused=leaves)
        return found if found.size is not None or self._is_there(entry.path) else None

    def _is_there(self, path: str) -> bool:
        """Whether something exists at the path. If that cannot be determined, record a problem of the folder, so that
        the entry does not count as deleted."""
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            told = f"{readable(os.path.dirname(path))}: {error.strerror or error}"
            if told not in self.problems[-1:]:  # once for all files of a folder
                self.problems.append(told)
            return False
        return True

    def _kept_out(self, here: Parts, *, folder: bool) -> bool:
        # The folders above were checked when they were entered. The real folders of a followed link may be hidden.
        name = here[-1]
        if name.startswith(".") and not self.rules.hidden:
            return True
        return self.rules.excluded("/".join(here) + ("/" if folder else ""))


def describe(path: str, parts: Parts, *, refused: bool = False) -> Found:
    """Describe an entry by its ``stat``. An entry that cannot be read as a regular file has neither size nor time."""
    try:
        about = os.stat(path)
    except OSError:
        return Found(path=path, parts=parts)
    if refused or not stat.S_ISREG(about.st_mode):
        return Found(path=path, parts=parts)
    return Found(path=path, parts=parts, size=about.st_size, mtime_ns=about.st_mtime_ns, mode=about.st_mode)


def is_within(real: str, real_root: str) -> bool:
    """Whether a resolved path is the resolved root or below it."""
    return real == real_root or real.startswith(real_root.rstrip(os.sep) + os.sep)


def is_data_folder(path: str) -> bool:
    """Whether this program keeps its own state in the folder: a ledger, an index, and perhaps a server's key. These
    files are not documents, and an index of them would grow with each run."""
    return all(os.path.exists(os.path.join(path, name)) for name in DATA_FOLDER_HAS)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # for example, a link to itself
        return False
