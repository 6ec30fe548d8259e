"""How many of the CPU's cores one forward takes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


def cores() -> int:
    """How many threads torch gives a forward unless it is told otherwise: mostly one for each physical core."""
    import torch

    return torch.get_num_threads()


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
