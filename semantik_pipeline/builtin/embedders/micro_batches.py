"""Runs work through a model in length-sorted micro-batches. Each takes its own turn on the device, and running out of
memory halves the token budget.

On a CPU several forward passes run in parallel (``streams``), each on its share of the cores. The threads of a single
pass wait for each other after every matrix product, so they all wait if one thread's core is busy with something else.
MiniLM in bf16 on two cores with AMX: two passes with one thread each process 1.25 to 1.40 times as many texts per
second as one pass with two threads; next to a process that uses a third of a core, 1.35 to 1.51 times as many.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from semantik_pipeline.builtin.embedders import cpu_memory, cpu_threads
from semantik_pipeline.builtin.embedders.device_turns import DeviceTurns, Lane
from semantik_pipeline.builtin.embedders.out_of_memory import release_memory
from semantik_pipeline.builtin.embedders.token_batches import TokenBatches
from semantik_pipeline.contracts.models import ModelUsage, is_out_of_memory
from semantik_pipeline.errors import OutOfMemory

# Tokens of a micro-batch, padding included. On a CPU, throughput is flat from 1,024 to 16,384 tokens (measured), and a
# query waits for one micro-batch. A GPU needs wide batches to be busy.
CPU_BATCH_TOKENS = 2048
GPU_BATCH_TOKENS = 65_536
# Reranking on a CPU: the tokens that all streams together process between two checks of the deadline, which is also how
# long a query waits for its turn (0.2 s without bf16).
CPU_RERANK_TOKENS = 1024
# While people search, bulk work on a CPU uses shorter steps, so that a query waits less for the current one.
CPU_BESIDE_QUERIES_TOKENS = 512
# The most parallel forward passes on a CPU. Each needs memory of its own.
CPU_STREAMS = 8
# The fewest tokens that are worth their own forward pass.
LEAST_TOKENS = 256

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class _Call:
    """Items that are being processed. ``share``: the most tokens of a micro-batch, so that each stream gets some;
    ``streams``: the number of streams for which there is work."""

    items: Sequence[Any]
    batches: TokenBatches
    forward: Callable[[list[Any]], Sequence[Any]]
    lane: Lane
    stop: threading.Event
    share: int
    streams: int
    results: list[Any]


class MicroBatches:
    """The turns, token budget and usage counters of one model on one device. Methods block; any thread may call them.

    ``concurrent``: several threads may run the model's forward pass at once.
    """

    def __init__(self, *, device: str, key: str, batch_tokens: int | None = None, concurrent: bool = False) -> None:
        if device == "cpu":
            cpu_memory.keep_blocks()
        self.device = device
        self._cores = cpu_threads.cores() if device == "cpu" and concurrent else 1
        self.streams = streams_of(self._cores)
        self.turns = DeviceTurns(self.streams)
        self.batch_tokens = batch_tokens or (CPU_BATCH_TOKENS if device == "cpu" else GPU_BATCH_TOKENS)
        self.usage = ModelUsage(key=key)  # replaced under the lock
        self._lock = threading.Lock()
        self._helpers = {  # one pool per lane: a long call must not occupy the threads that a higher lane needs
            lane: ThreadPoolExecutor(max(1, self.streams - 1), thread_name_prefix=f"micro-batches-{lane.name.lower()}")
            for lane in Lane
        }

    def through(
        self,
        items: Sequence[Item],
        lengths: Sequence[int],
        forward: Callable[[list[Item]], Sequence[Any]],
        *,
        lane: Lane,
        stop: threading.Event | None = None,
    ) -> list[Any]:
        """Return what ``forward`` computes for each item, in the items' order; ``lengths`` are their token counts.

        CancelledError is raised soon after ``stop`` is set, OutOfMemory for an item that doesn't fit alone.
        """
        batches = TokenBatches(lengths)
        share = max(LEAST_TOKENS, math.ceil(batches.tokens / self.streams))
        call = _Call(
            items=items,
            batches=batches,
            forward=forward,
            lane=lane,
            stop=stop or threading.Event(),
            share=share,
            streams=min(self.streams, math.ceil(batches.tokens / min(share, self._budget(lane)))),
            results=[None] * len(items),
        )
        helpers = [self._helpers[lane].submit(self._stream, call) for _ in range(call.streams - 1)]
        try:
            self._stream(call)
        finally:  # helpers that have not started are cancelled: nothing is left for them
            errors = [helper.exception() for helper in helpers if not helper.cancel()]
        for error in errors:
            if error is not None:
                raise error
        return call.results

    def _stream(self, call: _Call) -> None:
        """Process micro-batches of a call until none is left."""
        try:
            while batch := call.batches.take(min(call.share, self._budget(call.lane))):
                try:
                    found = self._in_turn(call, batch)
                except Exception as error:  # on a CPU, running out of memory does not raise a type of its own
                    if not is_out_of_memory(error):
                        raise
                    self._shrink([call.batches.lengths[index] for index in batch], error)
                    call.batches.put_back(batch)
                    continue
                for index, result in zip(batch, found, strict=True):
                    call.results[index] = result
        except BaseException:
            call.batches.drop()  # stops the call's other streams too
            raise

    def _in_turn(self, call: _Call, batch: list[int]) -> Sequence[Any]:
        """Process one micro-batch in a turn: on its stream's share of the cores, or on all free cores if its call has
        only this stream."""
        with self.turns.turn(call.lane) as alone:
            if call.stop.is_set():  # the next call in the queue may still be wanted
                raise CancelledError
            count = self._cores // self.streams
            if alone and call.streams == 1 and self.streams > 1:
                count = max(count, cpu_threads.free(self._cores))
            began = time.perf_counter()
            with cpu_threads.threads(count) if self.streams > 1 else nullcontext():
                found = call.forward([call.items[index] for index in batch])
            seconds = (time.perf_counter() - began) * count / self._cores
        with self._lock:
            self.usage = _with_forward(self.usage, [call.batches.lengths[index] for index in batch], seconds)
        return found

    def _budget(self, lane: Lane) -> int:
        """The most tokens of a micro-batch, padding included."""
        most = self.batch_tokens
        if self.device == "cpu" and lane is Lane.RERANK:
            most = max(LEAST_TOKENS, CPU_RERANK_TOKENS // self.streams)
        if self.device == "cpu" and lane is Lane.BULK and self.turns.beside_queries():
            most = max(LEAST_TOKENS, CPU_BESIDE_QUERIES_TOKENS // self.streams)
        return min(self.batch_tokens, most)

    def _shrink(self, lengths: list[int], error: Exception) -> None:
        """Halve the token budget permanently. Raises OutOfMemory for a single text that doesn't fit."""
        release_memory(self.device)
        if len(lengths) == 1:
            raise OutOfMemory(
                f"The device {self.device!r} does not have enough memory for one text of {lengths[0]} tokens.",
                "Free memory on it, use a smaller model, or set device: cpu.",
            ) from error
        self.batch_tokens = max(1, min(self.batch_tokens, len(lengths) * lengths[0] // 2))


def streams_of(cores: int) -> int:
    """How many forward passes share ``cores`` cores: the number that leaves the fewest cores idle."""
    return max(range(1, CPU_STREAMS + 1), key=lambda streams: (cores // streams * streams, streams))


def _with_forward(usage: ModelUsage, lengths: Sequence[int], seconds: float) -> ModelUsage:
    """The usage after one more forward pass over texts of these lengths in tokens."""
    return replace(
        usage,
        tokens=usage.tokens + sum(lengths),
        padded_tokens=usage.padded_tokens + len(lengths) * max(lengths, default=0),
        busy_seconds=usage.busy_seconds + seconds,
    )
