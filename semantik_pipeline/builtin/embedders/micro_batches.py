"""How work gets through a model: length-sorted micro-batches, each in a turn of its own, under a budget of tokens that
running out of memory halves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any, TypeVar

from semantik_pipeline.builtin.embedders.device_turns import DeviceTurns, Lane
from semantik_pipeline.builtin.embedders.out_of_memory import release_memory
from semantik_pipeline.builtin.embedders.token_batches import batch_end, longest_first
from semantik_pipeline.contracts.models import ModelUsage, is_out_of_memory
from semantik_pipeline.errors import OutOfMemory

# Tokens of a micro-batch, padding included. CPU: throughput is flat from 1,024 to 16,384 tokens (measured), and a
# query waits for one micro-batch. A GPU needs wide batches to be busy.
CPU_BATCH_TOKENS = 2048
GPU_BATCH_TOKENS = 65_536
# Reranking on a CPU: a deadline is kept, and a query waits, to within one micro-batch (0.2 s without bf16).
CPU_RERANK_TOKENS = 1024
# While people search, bulk work on a CPU goes in shorter steps, so that a query waits less for the one under way ...
CPU_BESIDE_QUERIES_TOKENS = 512
# ... for so many seconds after the last query.
BESIDE_QUERIES = 2.0

Item = TypeVar("Item")


class MicroBatches:
    """The turns, the budget and the count of one model on one device. Methods block; any thread may call them."""

    def __init__(self, *, device: str, key: str, batch_tokens: int | None = None) -> None:
        self.device = device
        self.turns = DeviceTurns()
        self.batch_tokens = batch_tokens or (CPU_BATCH_TOKENS if device == "cpu" else GPU_BATCH_TOKENS)
        self.usage = ModelUsage(key=key)  # replaced within a turn

    def through(
        self,
        items: Sequence[Item],
        lengths: Sequence[int],
        forward: Callable[[list[Item]], Sequence[Any]],
        *,
        lane: Lane,
        stop: threading.Event | None = None,
    ) -> list[Any]:
        """What ``forward`` makes of each of the items, of so many tokens each, in their order.

        CancelledError soon after ``stop`` is set. Raises OutOfMemory for an item that doesn't fit alone.
        """
        order = longest_first(lengths)
        sorted_lengths = [lengths[index] for index in order]
        results: list[Any] = [None] * len(items)
        start = 0
        while start < len(order):
            if stop and stop.is_set():
                raise CancelledError
            end = batch_end(sorted_lengths, start, self._budget(lane))
            batch = order[start:end]
            try:
                with self.turns.turn(lane):
                    if stop and stop.is_set():  # while it waited: who waits behind it is wanted still
                        raise CancelledError
                    began = time.perf_counter()
                    found = forward([items[index] for index in batch])
                    self.usage = _with_forward(self.usage, sorted_lengths[start:end], time.perf_counter() - began)
            except Exception as error:  # out of memory has no type of its own on a CPU
                if not is_out_of_memory(error):
                    raise
                self._shrink(len(batch), sorted_lengths[start], error)
                continue
            for index, result in zip(batch, found, strict=True):
                results[index] = result
            start = end
        return results

    def _budget(self, lane: Lane) -> int:
        """Tokens of a micro-batch, padding included."""
        most = self.batch_tokens
        if self.device == "cpu" and lane is Lane.RERANK:
            most = CPU_RERANK_TOKENS
        if self.device == "cpu" and lane is Lane.BULK and self.turns.asked_within(BESIDE_QUERIES):
            most = CPU_BESIDE_QUERIES_TOKENS
        return min(self.batch_tokens, most)

    def _shrink(self, count: int, longest: int, error: Exception) -> None:
        """Halve the token budget for good; one text that doesn't fit alone is the end of it."""
        release_memory(self.device)
        if count == 1:
            raise OutOfMemory(
                f"The device {self.device!r} has not the memory for one text of {longest} tokens.",
                "Free its memory, use a smaller model, or set device: cpu.",
            ) from error
        self.batch_tokens = max(1, count * longest // 2)


def _with_forward(usage: ModelUsage, lengths: Sequence[int], seconds: float) -> ModelUsage:
    """The usage with one more forward, over texts of these lengths in tokens."""
    return replace(
        usage,
        tokens=usage.tokens + sum(lengths),
        padded_tokens=usage.padded_tokens + len(lengths) * max(lengths, default=0),
        busy_seconds=usage.busy_seconds + seconds,
    )
