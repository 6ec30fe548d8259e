"""How work is cut into micro-batches."""

from __future__ import annotations

import pytest

from semantik_pipeline.builtin.embedders.device_turns import Lane
from semantik_pipeline.builtin.embedders.micro_batches import (
    CPU_BATCH_TOKENS,
    CPU_BESIDE_QUERIES_TOKENS,
    GPU_BATCH_TOKENS,
    MicroBatches,
)

LENGTH = 64


def largest(batches: MicroBatches, lane: Lane, count: int = 4096) -> int:
    """Tokens of the largest micro-batch that so many texts of LENGTH go through in."""
    sizes: list[int] = []

    def forward(items: list[int]) -> list[int]:
        sizes.append(len(items))
        return items

    assert batches.through(range(count), [LENGTH] * count, forward, lane=lane) == list(range(count))
    return max(sizes) * LENGTH


@pytest.mark.parametrize(("device", "before"), [("cpu", CPU_BATCH_TOKENS), ("cuda:0", GPU_BATCH_TOKENS)])
def test_bulk_work_on_a_cpu_goes_in_shorter_steps_while_people_search(device, before, monkeypatch):
    batches = MicroBatches(device=device, key="m")
    assert largest(batches, Lane.BULK) == before
    largest(batches, Lane.QUERY, 1)
    assert largest(batches, Lane.BULK) == (CPU_BESIDE_QUERIES_TOKENS if device == "cpu" else before)
    monkeypatch.setattr("semantik_pipeline.builtin.embedders.micro_batches.BESIDE_QUERIES", -1.0)
    assert largest(batches, Lane.BULK) == before
