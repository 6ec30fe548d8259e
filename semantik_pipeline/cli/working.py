"""Commands that change the index. On a fleet (``settings.fleet``) they write the ledger, notify the workers, and follow
what those do. Otherwise they own the data folder, work in this process, and can be stopped at any time."""

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
    """A runtime whose work is done until the block ends: by a worker in threads of this process, which owns the data
    folder, or by the fleet's workers.

    Raises DataFolderInUse where another process has the folder, and SettingsError for a fleet that shares nothing.
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
        closing(runtime),  # the store is given back before the folder is
        stoppable(call),
        embedded_worker(runtime),
    ):
        yield runtime


@contextmanager
def beside_a_fleet(call: Invocation) -> Iterator[Runtime]:
    """A runtime that notifies the fleet's workers and works on nothing itself; it does not own the data folder."""
    from workers.fleet_bell import ringing

    with call.runtime() as runtime, ringing(runtime):
        try:
            yield runtime
        except KeyboardInterrupt:
            call.say("Stopped watching. The workers continue; see `semantik operations list`.")
            raise


@contextmanager
def at_work_or_beside(call: Invocation) -> Iterator[tuple[Runtime, bool]]:
    """As :func:`at_work`, and where another process owns the data folder a runtime beside it: that process does the
    work. The flag says whether this process does."""
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
    """A runtime that may read the store: it owns the data folder, unless the store is a fleet's."""
    with call.runtime() as runtime:
        if runtime.settings.fleet and runtime.settings.shared_store:
            yield runtime
            return
        with runtime.own():
            yield runtime


@contextmanager
def owning_or_beside(call: Invocation) -> Iterator[Runtime]:
    """As :func:`owning`; beside the process that owns the data folder, for what changes the ledger alone."""
    from semantik_pipeline.errors import DataFolderInUse

    with ExitStack() as stack:
        try:
            runtime = stack.enter_context(owning(call))
        except DataFolderInUse:
            runtime = stack.enter_context(call.runtime())
        yield runtime


@contextmanager
def stoppable(call: Invocation) -> Iterator[None]:
    """A first Ctrl-C (or SIGTERM) ends the work in an orderly way, a second one at once; either way nothing is lost."""

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
