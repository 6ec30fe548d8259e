"""The event loop, in a thread of its own, on which all async methods of a process's plugins run.

Other threads submit coroutines and wait. A plugin that blocks the loop stops every other plugin's async work, so
each step of each task is timed, and the log names the plugin whose step took too long.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
import types
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from semantik_pipeline.documents import Checkpoint, IngestedDocument
from semantik_pipeline.errors import PluginError

LOGGER = logging.getLogger("semantik.plugins")

#: Seconds that one step of a coroutine may take before the log names its plugin.
BLOCKING_SECONDS = 0.25
#: Seconds between two warnings about the same plugin.
WARN_AGAIN_SECONDS = 60.0
#: Maximum threads for calls that plugins pass to ``asyncio.to_thread``; most wait for servers. asyncio's own limit
#: is six on two cores, which one source with a slow server would use up.
THREADS = 64
#: Seconds that cancelled tasks may take to clean up when the loop closes.
CLOSING_SECONDS = 5.0

_DONE = object()
_speaker: ContextVar[str] = ContextVar("semantik_plugin", default="an unnamed plugin")


@dataclass(frozen=True)
class _Step:
    plugin: str
    started: float


class LoopThread:
    """The loop and its thread, started with the first coroutine. Thread-safe, except from its own thread."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._step: _Step | None = None
        self._warned: dict[str, float] = {}

    def run(self, work: Awaitable[Any], plugin: str, patience: float | None = None) -> Any:
        """Await ``work`` on the loop and return its result. The log names ``plugin`` if it blocks the loop.

        After ``patience`` seconds (None: no limit) it raises TimeoutError; a step that blocks the loop keeps running.
        """
        self.refuse_own_thread(work)
        loop = self._running()
        speaker = _speaker.set(plugin)  # the task copies this thread's context, and the plugin's name with it
        try:
            future = asyncio.run_coroutine_threadsafe(work if isinstance(work, Coroutine) else _awaiting(work), loop)
        finally:
            _speaker.reset(speaker)
        return self._wait(future, patience)

    def iterate(self, source: AsyncIterator[Any], plugin: str) -> Iterator[Any]:
        """Yield the source's items, reading some ahead. The source is closed at the end or when the caller stops.

        A single task runs the source from its first item until it is closed, because timeouts and task groups inside
        the source require that.
        """
        self.refuse_own_thread(source)
        loop = self._running()
        wanted: asyncio.Queue[concurrent.futures.Future | None] = asyncio.Queue()
        pump = asyncio.run_coroutine_threadsafe(_pump(source, wanted, plugin), loop)
        awaited: list[concurrent.futures.Future] = []
        pump.add_done_callback(lambda _: [item.cancel() for item in awaited])  # if the loop closes, stop waiting
        try:
            while True:
                item: concurrent.futures.Future = concurrent.futures.Future()
                awaited[:] = [item]
                if pump.done():  # it may have ended between two requests
                    item.cancel()
                try:
                    loop.call_soon_threadsafe(wanted.put_nowait, item)
                except RuntimeError:
                    raise PluginError("The plugin host is closed.", "Start a new one.") from None
                items, end = self._wait(item)
                yield from items
                if end is _DONE:
                    return
                if end is not None:
                    raise end
        finally:
            with suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(wanted.put_nowait, None)
                self._wait(pump)

    def refuse_own_thread(self, work: Any) -> None:
        """Raise PluginError if this is the loop's thread, where waiting for the loop would deadlock."""
        if self._thread is not None and threading.current_thread() is self._thread:
            if isinstance(work, Coroutine):
                work.close()
            raise PluginError(
                "A plugin's async method was called through the host on the event loop's own thread.",
                "Await it instead.",
            )

    def close(self) -> None:
        """Cancel running tasks, let them clean up, and stop. Idempotent."""
        with self._starting:
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            return
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join(CLOSING_SECONDS + 1)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._closed:
                raise PluginError("The plugin host is closed.", "Start a new one.")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="semantik-plugins"))
                self._loop.set_task_factory(self._timed_task)
                self._thread = threading.Thread(target=self._serve, name="semantik-plugins", daemon=True)
                self._thread.start()
            return self._loop

    def _serve(self) -> None:
        loop = self._loop
        assert loop is not None
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            leftover = asyncio.all_tasks(loop)
            for task in leftover:
                task.cancel()
            if leftover:
                loop.run_until_complete(asyncio.wait(leftover, timeout=CLOSING_SECONDS))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def _wait(self, future: concurrent.futures.Future, patience: float | None = None) -> Any:
        """Return the future's result. While waiting, check whether a step is blocking the loop."""
        until = None if patience is None else time.monotonic() + patience
        while True:
            try:
                return future.result(timeout=1.0)
            except concurrent.futures.CancelledError:
                raise PluginError("The plugin host was closed while a plugin was working.") from None
            except TimeoutError:
                if future.done():  # the plugin raised TimeoutError itself, or the result has just arrived
                    return future.result()
                if step := self._step:
                    self._warn_if_blocking(step, "is blocking")
                if until is not None and time.monotonic() > until:
                    future.cancel()
                    raise

    # -- timing -------------------------------------------------------------------------------------------------------

    def _timed_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task:
        return asyncio.Task(self._timed(coroutine), loop=loop, **options)

    async def _timed(self, coroutine: Any) -> Any:
        try:
            return await self._steps(coroutine)
        except (SystemExit, KeyboardInterrupt) as error:  # asyncio would stop the loop for all plugins
            raise PluginError(f"The plugin {_speaker.get()} tried to end the process ({error!r}).") from error

    @types.coroutine
    def _steps(self, coroutine: Any) -> Any:
        """Drive the coroutine step by step and time each step."""
        act, argument = coroutine.send, None
        while True:
            step = self._step = _Step(_speaker.get(), time.monotonic())
            try:
                yielded = act(argument)
            except StopIteration as done:
                return done.value
            finally:
                self._step = None
                self._warn_if_blocking(step, "blocked")
            try:
                act, argument = coroutine.send, (yield yielded)
            except BaseException as error:  # for example a cancellation: pass it on to the coroutine
                act, argument = coroutine.throw, error

    def _warn_if_blocking(self, step: _Step, verb: str) -> None:
        now = time.monotonic()
        if now - step.started <= BLOCKING_SECONDS or now - self._warned.get(step.plugin, -1e9) < WARN_AGAIN_SECONDS:
            return
        self._warned[step.plugin] = now
        LOGGER.warning(
            "The plugin %s %s the event loop (%.2f s so far); run blocking code with asyncio.to_thread.",
            step.plugin,
            verb,
            now - step.started,
        )


async def _awaiting(work: Awaitable[Any]) -> Any:
    return await work


async def _pump(source: AsyncIterator[Any], wanted: asyncio.Queue, plugin: str) -> None:
    """Answer each request in ``wanted`` with ``(items, end)``; a request of None ends the pump.

    ``end`` is None while items are left, ``_DONE`` after the last item, or the source's exception.
    """
    _speaker.set(plugin)
    try:
        while (item := await wanted.get()) is not None:
            try:
                answer = await _read_ahead(source)
            except asyncio.CancelledError:
                item.cancel()
                raise
            item.set_result(answer)
            if answer[1] is not None:
                return
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


#: Handing an item to another thread costs more than producing most items, so small items are handed over together: at
#: most this many, and only while the first of them is younger than this many seconds.
AHEAD, AHEAD_SECONDS = 64, 0.02


async def _read_ahead(source: AsyncIterator[Any]) -> tuple[list[Any], Any]:
    """Return the next items.

    A document with its content ends the batch, so that memory stays bounded. A checkpoint also does: the slice may end
    there, and items read beyond it would be read again.
    """
    items: list[Any] = []
    until = time.monotonic() + AHEAD_SECONDS
    try:
        while True:
            items.append(await anext(source))
            if len(items) >= AHEAD or time.monotonic() > until or isinstance(items[-1], IngestedDocument | Checkpoint):
                return items, None
    except StopAsyncIteration:
        return items, _DONE
    except Exception as error:
        return items, error
