"""The walk over a folder: in an order that a cursor can resume, one folder in memory at a time, opening nothing."""

# ruff: noqa: PTH110, PTH116, PTH118, PTH120, PTH206
# Paths stay strings, as the system gives them: exact to the byte, and quick by the ten thousand.

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from semantik_pipeline.builtin.connectors.file_uri import readable
from semantik_pipeline.builtin.connectors.globs import Parts, PathRules

#: Files that every data folder in use has: its owner's lock first, for that one is looked for in every folder.
DATA_FOLDER_HAS = ("owner.lock", "ledger.sqlite3")


#: Owner, group and others may read.
EVERY_READER = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH


@dataclass(frozen=True, kw_only=True)
class Found:
    """Something that is not a folder. ``size``, ``mtime_ns`` and ``mode`` (who may do what) are None for what is no regular
    file that can be looked at."""

    path: str
    parts: Parts
    size: int | None = None
    mtime_ns: int | None = None
    mode: int | None = None

    @property
    def change_hint(self) -> str | None:
        """Size and time, and who may read it where not everybody may: one that can be read again is fetched again."""
        if self.size is None or self.mode is None:
            return None
        readers = self.mode & EVERY_READER
        return f"{self.size}-{self.mtime_ns}" + ("" if readers == EVERY_READER else f"-{readers:o}")


@dataclass(frozen=True, kw_only=True)
class WalkRules(PathRules):
    """What the walk names."""

    recursive: bool = True
    follow_symlinks: bool = True


@dataclass
class Walk:
    """Depth first, names sorted within each folder.

    A link to a file within the root is named like a file. A link to a folder within the root is followed only where
    the walk does not come to that folder anyway (it is hidden or excluded there), so nothing is named twice and loops
    end. Data folders of this program are passed by. A link that leaves the root is named, without a size, and never followed. ``problems`` lists the folders that
    could not be read.
    """

    root: str
    rules: WalkRules
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._real_root = os.path.realpath(self.root)

    def found(self, after: Parts = ()) -> Iterator[Found]:
        """Everything that is wanted, from behind ``after`` on."""
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
        """Whether there is something at the path. Where nobody can tell, that is a problem of its folder: what can't be
        looked at has not vanished."""
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
        # The folders above were judged when they were entered; those of a followed link may well be hidden.
        name = here[-1]
        if name.startswith(".") and not self.rules.hidden:
            return True
        return self.rules.excluded("/".join(here) + ("/" if folder else ""))


def describe(path: str, parts: Parts, *, refused: bool = False) -> Found:
    """A file by its ``stat``; what cannot be read as a file has neither size nor time."""
    try:
        about = os.stat(path)
    except OSError:
        return Found(path=path, parts=parts)
    if refused or not stat.S_ISREG(about.st_mode):
        return Found(path=path, parts=parts)
    return Found(path=path, parts=parts, size=about.st_size, mtime_ns=about.st_mtime_ns, mode=about.st_mode)


def is_within(real: str, real_root: str) -> bool:
    """Whether a resolved path is the resolved root or lies under it."""
    return real == real_root or real.startswith(real_root.rstrip(os.sep) + os.sep)


def is_data_folder(path: str) -> bool:
    """Whether this program keeps its own state there: a ledger, an index, perhaps the key of a server. None of that is a
    document, and an index of it would grow with each run."""
    return all(os.path.exists(os.path.join(path, name)) for name in DATA_FOLDER_HAS)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
