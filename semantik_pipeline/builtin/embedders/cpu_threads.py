"""How many of the CPU's cores one forward takes."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

#: Linux says here how many tasks run just now, who asks among them: 3 of "0.52 0.58 0.59 3/1021 4711".
LOAD = Path("/proc/loadavg")


def cores() -> int:
    """How many threads torch gives a forward unless it is told otherwise: mostly one for each physical core."""
    import torch

    return torch.get_num_threads()


def free(most: int) -> int:
    """How many of ``most`` cores nothing else runs on at this moment, one at least; all where that can't be told.

    A forward's threads wait for each other after every matrix product, so one that shares its core delays them all. A
    query through MiniLM on two cores of which another process has one: p95 131 ms with two threads, 6 ms with one; with
    nothing beside it 4.0 and 5.2 ms (bf16, AMX).
    """
    try:
        running = int(LOAD.read_text("ascii").split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return most
    return max(1, min(most, (os.cpu_count() or most) - running + 1))


def threads(count: int) -> AbstractContextManager[object]:
    """Within it, what this thread runs in torch takes ``count`` threads.

    ``torch.set_num_threads`` would change what every thread that comes later begins with.
    """
    cores()  # torch settles a thread's number at its first question, which must not come after this
    return _controller().limit(limits=count)


@cache
def _controller() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="openmp")
