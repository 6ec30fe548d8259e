"""How work is cut into micro-batches."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError

import pytest

from semantik_pipeline.builtin.embedders import cpu_threads
from semantik_pipeline.builtin.embedders.device_turns import Lane
from semantik_pipeline.builtin.embedders.micro_batches import (
    CPU_BATCH_TOKENS,
    CPU_BESIDE_QUERIES_TOKENS,
    GPU_BATCH_TOKENS,
    MicroBatches,
    streams_of,
)
from semantik_pipeline.contracts.models import is_out_of_memory
from semantik_pipeline.errors import OutOfMemory

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
    monkeypatch.setattr("semantik_pipeline.builtin.embedders.device_turns.BESIDE_QUERIES", -1.0)
    assert largest(batches, Lane.BULK) == before


@pytest.mark.parametrize(
    ("cores", "streams"), [(1, 1), (2, 2), (3, 3), (4, 4), (7, 7), (8, 8), (10, 5), (12, 6), (16, 8), (64, 8)]
)
def test_as_many_streams_as_leave_the_fewest_cores_idle(cores, streams):
    assert streams_of(cores) == streams


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr(cpu_threads, "cores", lambda: 4)


def test_forwards_go_side_by_side_each_with_its_share_of_the_cores(four_cores):
    import torch

    batches, threads, meeting = (
        MicroBatches(device="cpu", key="m", concurrent=True),
        [],
        threading.Barrier(4, timeout=10),
    )

    def forward(items: list[int]) -> list[int]:
        threads.append(torch.get_num_threads())
        meeting.wait()
        return [item * 2 for item in items]

    before = torch.get_num_threads()
    assert batches.through(range(16), [256] * 16, forward, lane=Lane.BULK) == [item * 2 for item in range(16)]
    assert set(threads) == {1}
    assert len(threads) == 4
    assert torch.get_num_threads() == before
    assert batches.usage.tokens == 16 * 256


def test_a_lone_forward_has_all_free_cores_and_one_beside_others_its_share(four_cores, monkeypatch):
    import torch

    batches, threads = MicroBatches(device="cpu", key="m", concurrent=True), []
    free = [4, 3]
    monkeypatch.setattr(cpu_threads, "free", lambda most: free.pop(0))

    def forward(items: list[int]) -> list[int]:
        threads.append(torch.get_num_threads())
        return items

    batches.through([1], [9], forward, lane=Lane.QUERY)
    batches.through([1], [9], forward, lane=Lane.QUERY)
    with batches.turns.turn(Lane.BULK):
        batches.through([1], [9], forward, lane=Lane.QUERY)
    assert threads == [4, 3, 1]


@pytest.mark.parametrize(
    ("told", "free"),
    [
        ("0.1 0.1 0.1 1/99 7", 4),
        ("9 9 9 2/99 7", 3),
        ("9 9 9 4/99 7", 1),
        ("9 9 9 40/99 7", 1),
        ("nonsense", 4),
        (None, 4),
    ],
)
def test_cores_are_free_on_which_nothing_else_runs(told, free, monkeypatch, tmp_path):
    if told is not None:
        (tmp_path / "loadavg").write_text(told)
    monkeypatch.setattr(cpu_threads, "LOAD", tmp_path / "loadavg")
    monkeypatch.setattr(cpu_threads.os, "cpu_count", lambda: 4)
    assert cpu_threads.free(4) == free


def test_a_model_that_one_thread_at_a_time_may_call_is_called_so(four_cores):
    batches, inside = MicroBatches(device="cpu", key="m"), []

    def forward(items: list[int]) -> list[int]:
        assert not inside
        inside.append(1)
        time.sleep(0.002)
        inside.pop()
        return items

    assert batches.through(range(40), [600] * 40, forward, lane=Lane.BULK) == list(range(40))


def test_an_error_in_one_stream_ends_the_call(four_cores):
    batches, calls = MicroBatches(device="cpu", key="m", concurrent=True), []
    failed = threading.Event()

    def forward(items: list[int]) -> list[int]:
        calls.append(items)
        if 777 in items:
            failed.set()
            raise ValueError("no")
        assert failed.wait(10)
        time.sleep(0.002)
        return items

    with pytest.raises(ValueError, match="no"):
        batches.through(range(777, 2777), [256] * 2000, forward, lane=Lane.BULK)
    assert len(calls) < 2000 / 8
    assert batches.through([5], [3], forward, lane=Lane.BULK) == [5]  # and the next goes on


def test_what_does_not_fit_goes_in_smaller_batches_in_every_stream(four_cores):
    batches, sizes = MicroBatches(device="cpu", key="m", concurrent=True), []

    def forward(items: list[int]) -> list[int]:
        if len(items) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        sizes.append(len(items))
        return items

    assert batches.through(range(64), [128] * 64, forward, lane=Lane.BULK) == list(range(64))
    assert sum(sizes) == 64
    with pytest.raises(OutOfMemory, match="enough memory for one text of"):
        batches.through([1, 2, 3], [9000, 3, 3], _never, lane=Lane.BULK)


def _never(items: list[int]) -> list[int]:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")


def test_a_call_that_is_stopped_leaves_all_streams(four_cores):
    batches, stop, calls = MicroBatches(device="cpu", key="m", concurrent=True), threading.Event(), []

    def forward(items: list[int]) -> list[int]:
        calls.append(items)
        stop.set()
        return items

    with pytest.raises(CancelledError):
        batches.through(range(400), [512] * 400, forward, lane=Lane.BULK, stop=stop)
    assert len(calls) <= 4
    with batches.turns.turn(Lane.QUERY) as alone:
        assert alone


def test_a_cpu_without_memory_says_so_in_torchs_words():
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


FAULTS = """
import resource
import numpy as np
from semantik_pipeline.builtin.embedders.micro_batches import MicroBatches

MicroBatches(device={device!r}, key="m")

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        kept = [np.ones(1 << 20) for _ in range(3)]  # 8 MB each, given back together
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="Other C libraries have settings of their own.")
def test_a_forwards_memory_is_used_again_on_a_cpu_and_not_mapped_anew():
    """12,000 page faults where each block is mapped anew (measured)."""

    def faults(device: str) -> int:
        command = [sys.executable, "-c", FAULTS.format(device=device)]
        return int(subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout)

    assert faults("cpu") < 1_000
