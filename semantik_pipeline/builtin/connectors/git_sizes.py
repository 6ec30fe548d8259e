"""The size of an object in a repository, from the first bytes of its stored form, without unpacking the object."""

# ruff: noqa: PTH118, PTH123
# Paths are kept as strings, as the library gives them.

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dulwich.repo import Repo

#: Bytes of an entry that are read. The header, the name of the base object and two sizes take less.
HEAD = 128

_OFS_DELTA, _REF_DELTA = 6, 7


def size_of(repo: Repo, sha: bytes) -> int:
    """The number of bytes of an object's content. Raises KeyError if the object does not exist."""
    for store in (repo.object_store, *repo.object_store.alternates):
        size = _packed(store, sha)
        size = _loose(store, sha) if size is None else size
        if size is not None:
            return size
    return repo[sha].raw_length()  # stored in a form that is not handled here


def _packed(store: Any, sha: bytes) -> int | None:
    """The size of an object in a pack (gitformat-pack): from its header, or, for a delta, the size of the result."""
    from dulwich.pack import PackFileDisappeared

    for pack in store.packs:
        try:
            offset = pack.index.object_offset(sha)
            with open(os.path.join(store.path, "pack", pack.data.filename), "rb") as file:
                file.seek(offset)
                head = file.read(HEAD)
        except (
            KeyError,
            FileNotFoundError,
            PackFileDisappeared,
        ):  # the last two: the pack was replaced meanwhile; ``size_of`` then reads what is still open
            continue
        first, rest = head[0], iter(head[1:])
        size = first & 15 | (_number(rest) << 4 if first & 128 else 0)
        if (kind := first >> 4 & 7) not in (_OFS_DELTA, _REF_DELTA):
            return size
        if kind == _REF_DELTA:
            stored = bytes(rest)[len(sha) // 2 :]
        else:
            _number(rest)
            stored = bytes(rest)
        change = iter(_unpacked(stored))
        _number(change)  # skips the size of the base object
        return _number(change)
    return None


def _loose(store: Any, sha: bytes) -> int | None:
    """The size of an object in its own file, which starts with its type and size, such as ``blob 12``."""
    name = sha.decode("ascii")
    try:
        with open(os.path.join(store.path, name[:2], name[2:]), "rb") as file:
            _, _, size = _unpacked(file.read(HEAD)).partition(b"\0")[0].partition(b" ")
    except FileNotFoundError:
        return None
    return int(size)


def _unpacked(stored: bytes) -> bytes:
    return zlib.decompressobj().decompress(stored, 64)


def _number(rest: Iterator[int]) -> int:
    """Read a number in groups of seven bits, lowest first. All bytes except the last have their high bit set."""
    number, shift = 0, 0
    for byte in rest:
        number |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            break
    return number
