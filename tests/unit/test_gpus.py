"""Which GPUs a host has, which process gets which, and what of its memory models may take. No GPU is needed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from semantik_pipeline.builtin.embedders import precision
from semantik_pipeline.builtin.embedders.precision import gpu_in_sight
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings, visible_gpus
from workers.profiles import processes, profile
from workers.supervisor import on_device


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("0", ["0"]),
        ("0,1, 3", ["0", "1", "3"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),  # as CUDA reads it
        ("GPU-8932f937,MIG-5c1a", ["GPU-8932f937", "MIG-5c1a"]),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(monkeypatch: pytest.MonkeyPatch, said: str, meant: list[str]):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", said)
    assert visible_gpus() == meant
    assert gpu_in_sight() == bool(meant)


@pytest.mark.parametrize(("gpus", "asked", "count"), [("2,5", 0, 2), ("2,5", 4, 4), ("", 0, 1), ("", 3, 3)])
def test_a_gpu_worker_has_a_process_for_each_gpu_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpus: str, asked: int, count: int
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    settings = load_settings(data_dir=tmp_path, worker={"processes": asked})
    assert processes(profile("gpu"), settings) == count


@pytest.mark.parametrize(
    ("count", "gpus", "shares"),
    [(2, ["2", "5"], {"2": 1, "5": 1}), (4, ["2", "5"], {"2": 2, "5": 2}), (3, ["2", "5"], {"2": 2, "5": 1})],
)
def test_processes_are_spread_evenly_and_each_sees_one_gpu_and_who_shares_it(
    count: int, gpus: list[str], shares: dict[str, int]
):
    placed = [on_device(place, count, gpus) for place in range(count)]
    assert Counter(one["CUDA_VISIBLE_DEVICES"] for one in placed) == shares
    for one in placed:
        assert int(one["SEMANTIK_WORKER_GPU_SHARERS"]) == shares[one["CUDA_VISIBLE_DEVICES"]]


@pytest.mark.parametrize(("built", "why"), [(None, "it is built without CUDA"), ("12.8", "CUDA 12.8 can't start")])
def test_a_gpu_that_is_not_used_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, built: str | None, why: str
):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    precision._tell_of_gpu.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert precision.choose_device("auto") == "cpu" and not caplog.records
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert precision.choose_device("cpu") == "cpu" and not caplog.records, "that is as it was meant"
    assert [precision.choose_device("auto") for _ in range(2)] == ["cpu", "cpu"]
    [record] = caplog.records
    assert record.levelname == "WARNING" and why in record.message and "device: cpu" in record.message
    precision._tell_of_gpu.cache_clear()


def test_without_a_gpu_nothing_is_said_of_one():
    assert on_device(0, 2, []) == {}


@pytest.mark.parametrize(("megabytes", "limit"), [(0, None), (100, 100 * 1024 * 1024)])
def test_the_budget_of_models_is_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, megabytes: int, limit: int | None
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    settings = load_settings(data_dir=tmp_path, worker={"model_memory_mb": megabytes})
    with Runtime(settings) as runtime:
        assert runtime.host.residency.limit() == limit


def test_a_process_and_its_children_look_into_the_models_folder_of_the_settings(tmp_path: Path):
    settings = load_settings(data_dir=tmp_path, models={"dir": tmp_path / "elsewhere"})
    with Runtime(settings) as runtime:
        config = runtime.host.effective_config("dense-local")
        assert config["models_dir"] == str(tmp_path / "elsewhere")
        assert "models_dir" not in runtime.host.frozen_config("dense-local")
        again = runtime.host.effective_config("dense-local", runtime.host.frozen_config("dense-local"), frozen=True)
        assert again["models_dir"] == config["models_dir"]
        asked = {"model": "acme/none"}
        assert runtime.children.run(located_in_child, asked, deadline=60.0) == str(tmp_path / "elsewhere")


def located_in_child(host, options):
    return host.light("dense-local", options).config["models_dir"]
