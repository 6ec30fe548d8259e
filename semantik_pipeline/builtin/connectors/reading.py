"""Reads one file completely, makes sure that it did not change meanwhile, and never blocks on special files."""

# ruff: noqa: PTH114, PTH116, PTH123
# Paths are kept as strings, as the system gives them: exact to the byte, and fast for tens of thousands of files.

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from semantik_pipeline.builtin.connectors.file_uri import readable
from semantik_pipeline.builtin.connectors.size_limit import refuse_large
from semantik_pipeline.builtin.connectors.walk import is_within
from semantik_pipeline.errors import (
    DocumentGone,
    DocumentUnreadable,
    PipelineError,
    SkipDocument,
    TransientError,
)

_AGAIN = "It is tried again later."
_MAY_READ = "Give the user that runs the sync permission to read it, or exclude it. Each sync tries it again."

#: Errors that can disappear in a moment: handles or memory run short, the file is busy, the call was interrupted.
_SHORT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY, errno.EINTR)

#: Number of attempts to read a file that changes while it is read.
ATTEMPTS = 3

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a folder",
}


@dataclass(frozen=True, kw_only=True)
class FileContent:
    """A file's bytes, and its ``stat`` result at the time of reading."""

    content: bytes
    about: os.stat_result


def read_file(path: str, *, root: str, max_bytes: int) -> FileContent:
    """The content of a regular file within ``root``.

    Raises DocumentGone if the file no longer exists; SkipDocument if it is not a regular file, is empty, or is a link
    that leaves the root or is broken; DocumentUnreadable if it is larger than ``max_bytes`` (then it is not opened),
    reading is not permitted, or the device fails; TransientError if it changes faster than it can be read.
    """
    try:
        _refuse_links_out(path, root)
        _refuse_by_stat(path, os.stat(path), max_bytes)
        return _read_unchanged(path, max_bytes)
    except OSError as error:
        raise _meaning(error, path) from error


def _refuse_links_out(path: str, root: str) -> None:
    if not is_within(os.path.realpath(path), os.path.realpath(root)):
        raise SkipDocument(f"{readable(path)} is a link that leaves the folder {readable(root)}; it is not followed.")


def _refuse_by_stat(path: str, about: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(about.st_mode):
        kind = _KINDS.get(stat.S_IFMT(about.st_mode), "a special file")
        raise SkipDocument(f"{readable(path)} is {kind}, not a file.")
    refuse_large(readable(path), about.st_size, max_bytes)


def _read_unchanged(path: str, max_bytes: int) -> FileContent:
    for _ in range(ATTEMPTS):
        # O_NONBLOCK, because a FIFO may have taken the file's place since its stat.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(handle, "rb") as file:
            before = os.fstat(handle)
            _refuse_by_stat(path, before, max_bytes)
            content = file.read(max_bytes + 1)
            after = os.fstat(handle)
        unchanged = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        if unchanged and len(content) <= max_bytes:
            if not content:
                raise SkipDocument(f"{readable(path)} is empty.")
            return FileContent(content=content, about=after)
    raise TransientError(f"{readable(path)} changed {ATTEMPTS} times while it was read.", _AGAIN)


def _meaning(error: OSError, path: str) -> PipelineError:
    if isinstance(error, FileNotFoundError) and not os.path.islink(path):
        return DocumentGone(f"{readable(path)} is gone.")
    if isinstance(error, NotADirectoryError):
        return DocumentGone(f"{readable(path)} is gone: a parent of its path is no longer a folder.")
    if isinstance(error, FileNotFoundError):
        return SkipDocument(f"{readable(path)} is a link to a file that does not exist.")
    if isinstance(error, PermissionError):
        return DocumentUnreadable(f"{readable(path)} cannot be read: permission denied.", _MAY_READ)
    if error.errno == errno.ELOOP:
        return SkipDocument(f"{readable(path)} is a link that cannot be followed: {error.strerror}.")
    told = f"{readable(path)} could not be read: {error.strerror or error}."
    if error.errno in _SHORT_OF:
        return TransientError(told, _AGAIN)
    return DocumentUnreadable(told, "Check its disk or mount. Each sync tries it again.")
