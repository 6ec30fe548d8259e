"""Commands that change the index: they own the data folder, work in this process, and can be stopped at any time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from semantik_pipeline.cli.failures import INTERRUPTED

if TYPE_CHECKING:
    from semantik_pipeline.cli.invocation import Invocation
    from semantik_pipeline.runtime import Runtime


@contextmanager
def at_work(call: Invocation) -> Iterator[Runtime]:
    """A runtime that owns the data folder, with a worker in threads of this process until the block ends.

    Raises DataFolderInUse where another process has the folder.
    """
    from workers.embedded import embedded_worker

    with (
        call.runtime() as runtime,
        runtime.own(),
        closing(runtime),  # the store is given back before the folder is
        stoppable(call),
        embedded_worker(runtime),
    ):
        yield runtime


@contextmanager
def stoppable(call: Invocation) -> Iterator[None]:
    """A first Ctrl-C (or SIGTERM) ends the work in an orderly way, a second one at once; either way nothing is lost."""

    def at_once(*_: object) -> None:
        os._exit(INTERRUPTED)

    def orderly(*_: object) -> None:
        for number in before:
            signal.signal(number, at_once)
        call.say("Stopping: what is in hand is finished or given back. Ctrl-C once more ends it at once.")
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, orderly)
    try:
        yield
    except KeyboardInterrupt:
        call.say("Stopped. What is done is kept; the same command goes on where this one ended.")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
