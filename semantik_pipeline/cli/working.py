"""Runtimes for commands that change the index.

On a fleet (``settings.fleet``) such a command writes the ledger, notifies the workers, and follows their progress.
Otherwise it owns the data folder, works in this process, and can be stopped at any time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from semantik_pipeline.cli.failures import INTERRUPTED

if TYPE_CHECKING:
    from semantik_pipeline.cli.invocation import Invocation
    from semantik_pipeline.runtime import Runtime


@contextmanager
def at_work(call: Invocation) -> Iterator[Runtime]:
    """Yield a runtime whose work is done until the block ends.

    Without a fleet, a worker in threads of this process does it, and this process owns the data folder. On a fleet, the
    fleet's workers do it. Raises DataFolderInUse if another process owns the data folder.
    """
    if call.settings().fleet:
        with beside_a_fleet(call) as runtime:
            yield runtime
        return
    if call.settings().shared_broker:
        call.say(
            "note: a broker is configured, but no fleet, so this command works by itself. A fleet also needs"
            " SEMANTIK_DATABASE_URL and SEMANTIK_QDRANT_URL."
        )
    from workers.embedded import embedded_worker

    with (
        call.runtime() as runtime,
        runtime.own(),
        closing(runtime),  # the store is closed before the data folder is released
        stoppable(call),
        embedded_worker(runtime),
    ):
        yield runtime


@contextmanager
def beside_a_fleet(call: Invocation) -> Iterator[Runtime]:
    """Yield a runtime that notifies the fleet's workers. It does no work itself and does not own the data folder."""
    from workers.fleet_bell import ringing

    with call.runtime() as runtime, ringing(runtime):
        try:
            yield runtime
        except KeyboardInterrupt:
            call.say("Stopped watching. The workers continue; see `semantik operations list`.")
            raise


@contextmanager
def at_work_or_beside(call: Invocation) -> Iterator[tuple[Runtime, bool]]:
    """Yield a runtime as :func:`at_work` does, and whether this process does the work.

    If another process owns the data folder, that process does the work, and the runtime only changes the ledger.
    """
    from semantik_pipeline.errors import DataFolderInUse

    with ExitStack() as stack:
        try:
            runtime = stack.enter_context(at_work(call))
            here = not runtime.settings.fleet
        except DataFolderInUse:
            runtime, here = stack.enter_context(call.runtime()), False
        yield runtime, here


@contextmanager
def owning(call: Invocation) -> Iterator[Runtime]:
    """Yield a runtime that may read the store. It owns the data folder, unless the store is shared by a fleet."""
    with call.runtime() as runtime:
        if runtime.settings.fleet and runtime.settings.shared_store:
            yield runtime
            return
        with runtime.own():
            yield runtime


@contextmanager
def owning_or_beside(call: Invocation) -> Iterator[Runtime]:
    """Yield a runtime as :func:`owning` does.

    If another process owns the data folder, the runtime does not own it and may only change the ledger.
    """
    from semantik_pipeline.errors import DataFolderInUse

    with ExitStack() as stack:
        try:
            runtime = stack.enter_context(owning(call))
        except DataFolderInUse:
            runtime = stack.enter_context(call.runtime())
        yield runtime


@contextmanager
def stoppable(call: Invocation) -> Iterator[None]:
    """End the work in an orderly way at the first Ctrl-C or SIGTERM, and the process at once at the second.

    Nothing is lost either way.
    """

    def at_once(*_: object) -> None:
        os._exit(INTERRUPTED)

    def orderly(*_: object) -> None:
        for number in before:
            signal.signal(number, at_once)
        call.say("Stopping: finishing work in progress, or handing it back. Press Ctrl-C again to stop at once.")
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, orderly)
    try:
        yield
    except KeyboardInterrupt:
        call.say("Stopped. Finished work is kept. Run the same command again to continue.")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
