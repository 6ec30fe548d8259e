"""How many CPU cores one forward pass uses."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

#: Linux reports here how many tasks are running, the caller included: 3 in "0.52 0.58 0.59 3/1021 4711".
LOAD = Path("/proc/loadavg")


def cores() -> int:
    """The number of threads that torch uses by default: usually one for each physical core."""
    import torch

    return torch.get_num_threads()


def free(most: int) -> int:
    """How many of ``most`` cores are idle at this moment, at least one; ``most`` where this can't be determined.

    The threads of a forward pass wait for each other after every matrix product, so one thread that shares its core
    delays them all. A query through MiniLM on two cores, one of which another process uses: p95 131 ms with two
    threads, 6 ms with one. On an idle machine: 4.0 and 5.2 ms (bf16, AMX).
    """
    try:
        running = int(LOAD.read_text("ascii").split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return most
    return max(1, min(most, (os.cpu_count() or most) - running + 1))


def threads(count: int) -> AbstractContextManager[object]:
    """A context in which torch uses ``count`` threads for what the current thread runs.

    ``torch.set_num_threads`` would also change the default of every thread that starts later.
    """
    cores()  # torch fixes a thread's count when it is first queried, which must happen before the limit is set
    return _controller().limit(limits=count)


@cache
def _controller() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="openmp")
