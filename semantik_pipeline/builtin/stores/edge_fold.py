"""Folds an index's new points into files, so that memory use doesn't grow with the index.

The engine keeps its indexes of new points in memory: 4.4 KB per point (half for BM25, half for payload indexes;
payloads of a file, texts of 120 words). Then its optimizer freezes them into a segment with mapped files, after which a
point takes 0.1 KB. Measured with a fold every 4,096 points: at most 21 MB of anonymous memory with 4,096 points and
25 MB with 40,960; without folds, 21 and 168 MB.
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

#: Kilobytes of vectors up to which folds merge segments (8 of them remain): about 10,000 points of 384 dimensions, so
#: that a fold takes a second or two of processor time however large the index is.
SEGMENT_KB = 16_000
LONGEST_WAIT = 60.0  # seconds after which a fold is aborted

#: Seconds after a search during which another one is likely, which should not have to wait for a fold.
BESIDE_SEARCHES = 60.0
#: Bytes of an index's files, without holes, up to which it is copied for that purpose. An index of 101,002 points has
#: 0.5 GB; copying it takes 1 to 1.6 s of processor time (measured).
LARGEST_COPY = 1 << 30


def fold(folder: EdgeFolder, index: EdgeIndex) -> None:
    """Freeze new points in a child process; updates of the index wait. For 2,048 points this takes 0.6 s of processor
    time with 10,000 points in the index, and 1.7 s with 50,000, where segments are merged (measured).

    While people search, a copy is folded, and searches wait only for the swap, which opens the index again: with
    101,002 points the longest search took 0.5 s, and 3.3 to 6.8 s if folded in place (measured). A failure is logged,
    and the points stay in memory until the next fold.
    """
    if folder.optimizers.ended:  # the process is about to end, so a fold would gain nothing
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
    """Fold the index itself. A kill is harmless: the optimizer drops old segments only when the new one is complete."""
    with index.shard.closed():
        _give_back_memory()
        _optimize(folder, index, index.folder)


def _optimize(folder: EdgeFolder, index: EdgeIndex, place: Path) -> None:
    _, edges = last_rebuild(place)
    folder.optimizers.optimize(index.name, place, edges, LONGEST_WAIT, segment_kb=SEGMENT_KB)


def _give_back_memory() -> None:
    """Return freed memory to the system. Otherwise the C library keeps it: 65 of 80 MB after closing a shard."""
    with suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)
