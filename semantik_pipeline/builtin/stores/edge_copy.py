"""A copy of an index to work on while searches go on, and how it takes the original's place."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from semantik_pipeline.builtin.stores.edge_errors import full

if TYPE_CHECKING:
    from pathlib import Path

    from semantik_pipeline.builtin.stores.edge_folder import EdgeFolder
    from semantik_pipeline.builtin.stores.edge_index import EdgeIndex


@contextmanager
def staging(folder: EdgeFolder, index: EdgeIndex) -> Iterator[Path]:
    """A folder for a copy; what is left of it at the end is removed."""
    staged = folder.staging(index.name)
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def copy(index: EdgeIndex, staged: Path) -> None:
    """Copy the index, which has to be still. Raises StorageFull where its disk has no room for it."""
    if not has_room(index):
        raise full(index.name)
    shutil.copytree(index.folder, staged, dirs_exist_ok=True)


def swap(folder: EdgeFolder, index: EdgeIndex, staged: Path) -> None:
    """Let the copy take the index's place; searches wait for it, and for the first opening."""
    with index.shard.closed():
        folder.swap(staged, index.name)


def size(index: EdgeIndex) -> int:
    """Bytes of the index's files."""
    return sum(file.stat().st_size for file in index.folder.rglob("*") if file.is_file())


def has_room(index: EdgeIndex) -> bool:
    """Whether there is room for a copy, and for what the optimiser writes beside it."""
    return shutil.disk_usage(index.folder).free >= 3 * size(index)
