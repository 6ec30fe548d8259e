"""How large an object of a repository is, by the first bytes that are stored of it: nothing is unpacked."""

# ruff: noqa: PTH118, PTH123
# Paths stay strings, as the library gives them.

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dulwich.repo import Repo

#: Bytes of an entry that are read: more than its header, the name of its base and two sizes take.
HEAD = 128

_OFS_DELTA, _REF_DELTA = 6, 7


def size_of(repo: Repo, sha: bytes) -> int:
    """The bytes of an object's content. Raises KeyError if it is not here."""
    for store in (repo.object_store, *repo.object_store.alternates):
        size = _packed(store, sha)
        size = _loose(store, sha) if size is None else size
        if size is not None:
            return size
    return repo[sha].raw_length()  # stored in a way that is not known here


def _packed(store: Any, sha: bytes) -> int | None:
    """Of an entry of a pack (gitformat-pack): type and size, or, of a change to another object, the size of the result."""
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
        ):  # the last two: it was renewed; what is open is read on
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
        _number(change)  # of the object that is changed
        return _number(change)
    return None


def _loose(store: Any, sha: bytes) -> int | None:
    """Of an object's own file, which begins with its type and size, such as ``blob 12``."""
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
    """A number in groups of seven bits, the lowest first; all but the last have their high bit set."""
    number, shift = 0, 0
    for byte in rest:
        number |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            break
    return number
