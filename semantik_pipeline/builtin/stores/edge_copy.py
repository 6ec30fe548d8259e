"""Copies an index to work on while searches continue, and puts the copy in the original's place.

The engine makes its files larger than their content, and reads them from start to end when it opens them. A copy
therefore keeps their holes: a copy of 101,002 points (0.5 GB, 1.3 GB with the holes) opens in 0.4 to 0.6 s, but in 3.6
to 4.7 s if the holes are filled (measured).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING

from semantik_pipeline.builtin.stores.edge_errors import full
from semantik_pipeline.builtin.stores.edge_folder import to_disk

if TYPE_CHECKING:
    from semantik_pipeline.builtin.stores.edge_folder import EdgeFolder
    from semantik_pipeline.builtin.stores.edge_index import EdgeIndex

#: Bytes that are read at once; they become a hole if all are zero.
BLOCK = 1 << 16
ZEROS = bytes(BLOCK)


@contextmanager
def staging(folder: EdgeFolder, index: EdgeIndex) -> Iterator[Path]:
    """A folder for a copy; whatever is left of it at the end is removed."""
    staged = folder.staging(index.name)
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def copy(folder: EdgeFolder, index: EdgeIndex, staged: Path) -> None:
    """Copy the index, which must be still. Raises StorageFull if its disk has no room for the copy, and
    ``subprocess.SubprocessError`` when the store is being closed."""

    def copy_one(source: str, target: str) -> None:
        folder.optimizers.check()
        copy_file(source, target)

    if not has_room(index):
        raise full(index.name)
    shutil.copytree(index.folder, staged, dirs_exist_ok=True, copy_function=copy_one)


def copy_file(source: str, target: str) -> None:
    """Copy a file. Where it contains only zeros, whether holes or not, the copy has holes."""
    size, at = Path(source).stat().st_size, 0
    with Path(source).open("rb", buffering=0) as original, Path(target).open("wb", buffering=0) as made:
        made.truncate(size)
        while some := original.read(BLOCK):
            if some != ZEROS[: len(some)]:
                made.seek(at)
                _write(made, some)
            at += len(some)


def _write(file: RawIOBase, some: bytes) -> None:
    left = memoryview(some)
    while left:
        left = left[file.write(left) :]


def settle(folder: Path) -> None:
    """Write everything in a folder to the disk: data without another copy must survive a power cut. Data that is
    already on the disk takes no time."""
    for path in (*folder.rglob("*"), folder):
        to_disk(path)


def swap(folder: EdgeFolder, index: EdgeIndex, staged: Path) -> None:
    """Put the copy in the index's place. Searches wait for this, and for the first opening of the copy."""
    settle(staged)
    with index.shard.closed():
        replaced = folder.swap(staged, index.name)
    shutil.rmtree(replaced, ignore_errors=True)


def size(index: EdgeIndex) -> int:
    """Bytes that the index occupies on its disk."""
    return sum(_on_disk(file.stat()) for file in index.folder.rglob("*") if file.is_file())


def _on_disk(file: os.stat_result) -> int:
    return file.st_blocks * 512 if hasattr(file, "st_blocks") else file.st_size


def has_room(index: EdgeIndex) -> bool:
    """Whether there is room for a copy, and for the files that the optimizer writes next to it."""
    return shutil.disk_usage(index.folder).free >= 3 * size(index)
