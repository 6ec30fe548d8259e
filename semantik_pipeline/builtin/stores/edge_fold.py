"""Fold an index's new points into files, so that memory doesn't grow with the index.

The engine keeps in memory what it indexes of new points: 4.4 KB a point (half for BM25, half for payload indexes;
payloads of a file, texts of 120 words), until its optimiser freezes them into a segment whose files it maps: 0.1 KB a
point then. Measured with a fold every 4,096 points: 21 MB of anonymous memory at the most with 4,096 points, 25 MB with
40,960; without, 21 and 168 MB.
"""

from __future__ import annotations

import ctypes
import logging
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from semantik_pipeline.builtin.stores.edge_copy import copy, has_room, size, staging, swap
from semantik_pipeline.builtin.stores.edge_optimize import last_rebuild, why

if TYPE_CHECKING:
    from pathlib import Path

    from semantik_pipeline.builtin.stores.edge_folder import EdgeFolder
    from semantik_pipeline.builtin.stores.edge_index import EdgeIndex

log = logging.getLogger(__name__)

#: Kilobytes of vectors up to which folds merge segments (8 of them stay): about 10,000 points of 384 dimensions, so
#: that a fold takes a second or two of a processor, however large the index is.
SEGMENT_KB = 16_000
LONGEST_WAIT = 60.0  # seconds after which a fold is given up

#: Seconds after a search in which another is likely to come, and is not to wait for a fold.
BESIDE_SEARCHES = 60.0
#: Bytes of an index's files, without their holes, up to which it is copied for that. One of 101,002 points has 0.5 GB; its
#: copy takes 1 to 1.6 s of a processor (measured).
LARGEST_COPY = 1 << 30


def fold(folder: EdgeFolder, index: EdgeIndex) -> None:
    """Freeze what is new, in a child process; updates of the index wait. For 2,048 points that takes 0.6 s of a processor
    with 10,000 points in the index, and 1.7 s with 50,000, where segments are merged (measured).

    While people search, it is done on a copy, and searches go on but for the swap, which opens the index anew: with
    101,002 points the longest search took 0.5 s, and 3.3 to 6.8 s in place (measured). A failure is logged, and the
    points stay in memory until the next fold.
    """
    if folder.optimizers.ended:  # the process is to end: nothing is won by it any more
        return
    with index.shard.still():
        index.shard.unfolded = 0
        try:
            if index.shard.searched_within(BESIDE_SEARCHES) and size(index) <= LARGEST_COPY and has_room(index):
                _on_a_copy(folder, index)
            else:
                _in_place(folder, index)
        except (subprocess.SubprocessError, OSError) as error:
            if folder.optimizers.ended:
                return
            log.warning("New points of the index %s stay in memory: %s", index.name, why(error))


def _on_a_copy(folder: EdgeFolder, index: EdgeIndex) -> None:
    with staging(folder, index) as staged:
        copy(folder, index, staged)
        _optimize(folder, index, staged)
        swap(folder, index, staged)
    _give_back_memory()


def _in_place(folder: EdgeFolder, index: EdgeIndex) -> None:
    """The engine's optimiser survives a kill, for it drops old segments only when the new one is complete."""
    with index.shard.closed():
        _give_back_memory()
        _optimize(folder, index, index.folder)


def _optimize(folder: EdgeFolder, index: EdgeIndex, place: Path) -> None:
    _, edges = last_rebuild(place)
    folder.optimizers.optimize(index.name, place, edges, LONGEST_WAIT, segment_kb=SEGMENT_KB)


def _give_back_memory() -> None:
    """Return freed memory to the system. The C library keeps it otherwise: 65 of 80 MB after closing a shard."""
    with suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)
