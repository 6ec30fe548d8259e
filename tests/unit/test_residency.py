"""Models in memory: measured, counted while in use, given up when others need their place, and loaded again."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref

import pytest

from semantik_pipeline.contracts import EmbeddingPlugin, RerankerPlugin
from semantik_pipeline.contracts.models import ModelUsage
from semantik_pipeline.errors import TransientError
from semantik_pipeline.plugins.host import PluginHost
from semantik_pipeline.plugins.loader import LoadReport
from semantik_pipeline.plugins.registry import LoadedPlugin, PluginRegistry
from semantik_pipeline.plugins.residency import Budget, Memory, measured
from semantik_pipeline.plugins.shape import conform, kind_of
from semantik_pipeline.plugins.state import PluginState
from semantik_pipeline.search.deadlines import until
from semantik_pipeline.tally import Tally
from semantik_pipeline.testing.tiny_models import write_tiny_embedder

MB = 1024 * 1024


class Device:
    """Memory in which models of 100 MB lie by name, each once; a full one refuses like torch does."""

    def __init__(self, capacity: float = float("inf")) -> None:
        self.capacity, self.holders, self.loads = capacity, {}, []

    def measure(self) -> Memory:
        return Memory(gpu=0, ram=sum(100 * MB for users in self.holders.values() if users))

    def take(self, name: str, user: object) -> None:
        self.loads.append(name)
        if not self.holders.get(name) and self.measure().ram + 100 * MB > self.capacity:
            raise RuntimeError("CUDA out of memory. Tried to allocate 100 MiB")
        self.holders.setdefault(name, set()).add(id(user))

    def leave(self, name: str, user: object) -> None:
        self.holders.get(name, set()).discard(id(user))


class Holding:
    """What both kinds of plugins below do with the device."""

    device: Device

    async def initialize(self):
        self.device.take(self.config["model"], self)
        self.there, self.done = True, 0

    async def cleanup(self):
        self.there = False
        self.device.leave(self.config["model"], self)

    def usage(self):
        key = self.config["model"]
        return ModelUsage(key=key, tokens=80 * self.done, padded_tokens=100 * self.done, busy_seconds=0.5 * self.done)

    def work(self):
        assert self.there, "the model was given up under a call"
        self.done += 1


class Embedder(Holding, EmbeddingPlugin):
    PLUGIN_ID = "embedder"
    gate: threading.Event | None = None
    began = threading.Event()

    async def embed_texts(self, texts):
        self.work()
        if self.gate is not None and texts == ["slow"]:
            self.began.set()
            while not self.gate.is_set():
                import asyncio

                await asyncio.sleep(0.005)
            assert self.there
        return [[1.0]] * len(texts)


class Reranker(Holding, RerankerPlugin):
    PLUGIN_ID = "reranker"

    async def rerank(self, query, documents):
        self.work()
        return []


def host_over(device: Device, budget: Budget, tally: Tally | None = None) -> PluginHost:
    Holding.device = device
    plugins = []
    for cls in (Embedder, Reranker):
        cls = conform(cls, kind_of(cls, None))
        kind, about = cls.PLUGIN_TYPE, cls.get_manifest()
        plugins.append(
            LoadedPlugin(id=cls.PLUGIN_ID, kind=kind, cls=cls, manifest=about, origin="test 1", builtin=False)
        )
    registry = PluginRegistry.of(plugins, {})
    return PluginHost(registry, LoadReport(), PluginState(), budget=budget, tally=tally, measure=device.measure)


def of(megabytes: int) -> Budget:
    return Budget(bytes=megabytes * MB, limited=True)


def embed(host: PluginHost, model: str, texts: tuple[str, ...] = ("text",)) -> None:
    host.call(host.instance("embedder", {"model": model}).embed_texts, list(texts))


def there(host: PluginHost) -> list[str]:
    return sorted(one["model"] for one in host.models())


@pytest.fixture
def device():
    return Device()


def test_the_least_recently_used_model_goes_and_comes_back_when_it_is_asked_for(device):
    host = host_over(device, of(250))
    for model in ("a", "b"):
        embed(host, model)
        time.sleep(0.01)
    embed(host, "a")  # now b is the older one
    embed(host, "c")
    assert there(host) == ["a", "c"]
    assert device.measure().ram == 200 * MB
    embed(host, "b")
    assert there(host) == ["b", "c"]
    assert device.loads == ["a", "b", "c", "b"]
    host.close()


def test_room_is_made_before_a_model_of_known_size_is_loaded():
    device = Device(capacity=200 * MB)  # loading a third one beside two would fail
    host = host_over(device, of(200))
    for model in ("a", "b", "c", "a", "b", "c"):
        embed(host, model)
    assert device.loads == ["a", "b", "c", "c", "a", "b", "c"]  # c had to be tried twice: nobody knew its size
    host.close()


def test_a_model_in_use_is_never_given_up_and_goes_when_the_call_has_ended(device):
    host = host_over(device, of(150))
    Embedder.gate, Embedder.began = threading.Event(), threading.Event()
    working = threading.Thread(target=embed, args=(host, "a", ("slow",)))
    working.start()
    assert Embedder.began.wait(30)
    embed(host, "b")
    assert there(host) == ["a", "b"]  # above the budget: the one works, the other has just been loaded
    assert next(one for one in host.models() if one["model"] == "a")["in_use"]
    Embedder.gate.set()
    working.join(30)
    Embedder.gate = None
    assert there(host) == ["a"]
    host.close()


def test_a_plugin_whose_model_was_given_up_meanwhile_is_made_anew_for_the_call(device):
    host = host_over(device, of(150))
    early = host.instance("embedder", {"model": "a"})
    embed(host, "b")
    assert there(host) == ["b"]
    host.call(early.count_tokens, ["needs no model"])
    assert there(host) == ["b"]
    assert host.call(early.embed_texts, ["text"]) == [[1.0]]
    assert there(host) == ["a"]
    assert not early.there
    host.close()


def test_plugins_that_share_a_model_count_once_and_go_together(device):
    host = host_over(device, of(150))
    embed(host, "a")
    reranker = host.instance("reranker", {"model": "a"})
    host.call(until(time.monotonic() + 30, reranker.rerank), "query", [])
    assert host.residency.held() == 100 * MB
    assert [one["memory"] for one in host.models()] == [100 * MB, 0]
    embed(host, "b")
    assert there(host) == ["b"]
    assert device.measure().ram == 100 * MB
    host.close()


def test_when_memory_runs_out_idle_models_go_first_and_then_it_is_a_transient_error():
    device = Device(capacity=150 * MB)
    host = host_over(device, Budget())  # no limit was set: the device is the limit
    embed(host, "a")
    embed(host, "b")
    assert there(host) == ["b"]
    Embedder.gate, Embedder.began = threading.Event(), threading.Event()
    working = threading.Thread(target=embed, args=(host, "b", ("slow",)))
    working.start()
    assert Embedder.began.wait(30)
    with pytest.raises(TransientError, match=r"'embedder'.*model_memory_mb"):
        embed(host, "c")
    Embedder.gate.set()
    working.join(30)
    Embedder.gate = None
    embed(host, "c")  # the next attempt
    assert there(host) == ["c"]
    host.close()


def test_without_a_budget_nothing_is_given_up(device):
    host = host_over(device, Budget())
    for model in "abcdefgh":
        embed(host, model)
    assert len(there(host)) == 8
    host.close()


def test_many_threads_over_few_places_never_work_on_a_model_that_is_gone(device):
    host = host_over(device, of(250))
    failures: list[BaseException] = []

    def use(number: int) -> None:
        try:
            for step in range(5):
                embed(host, "abcde"[(number * step + number) % 5])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert host.residency.held() <= 250 * MB
    assert device.measure().ram == host.residency.held()
    host.close()


def test_the_tally_learns_of_loads_tokens_padding_and_busy_time_each_once(device):
    tally = Tally()
    host = host_over(device, of(150), tally)
    for model in ("a", "a", "b", "a"):  # a is given up for b, loaded anew, and counts from zero
        embed(host, model)
    host.call(host.instance("reranker", {"model": "a"}).rerank, "query", [])
    model = {"a": (("model", "a"),), "b": (("model", "b"),)}
    assert tally.counts("embed_tokens") == {model["a"]: 3 * 80, model["b"]: 80}
    assert tally.counts("model_busy_seconds") == {model["a"]: 1.5, model["b"]: 0.5}
    found = tally.distributions()
    assert found["embed_batch_fill_ratio", model["a"]].total == pytest.approx(3 * 0.8)
    loads = {labels: one.count for (name, labels), one in found.items() if name == "model_load_duration_seconds"}
    assert loads[("model", "a"), ("plugin", "embedder")] == 2
    assert loads[("model", "a"), ("plugin", "reranker")] == 1
    host.close()


def test_a_real_model_is_measured_by_the_growth_of_the_process_and_gone_after(tmp_path):
    """In a process of its own, which torch has grown before: 50 MB of weights are about 50 MB."""
    folder = write_tiny_embedder(tmp_path / "tiny", width=768)
    size = (folder / "model.safetensors").stat().st_size
    script = f"""
import json, sys
from semantik_pipeline.plugins.host import PluginHost
from semantik_pipeline.plugins.residency import Budget, measured
budget = Budget(bytes={size // 2}, limited=True)
host = PluginHost.start({str(tmp_path / "plugins.json")!r}, ["embedding"], budget=budget)
assert "torch" not in sys.modules
import torch, safetensors.torch
options = {{"model": {str(folder)!r}, "precision": "float32"}}
plugin = host.instance("dense-local", options)
first = host.models()[0]["memory"]
vectors = host.call(plugin.embed_texts, ["leases expire"])
host.residency.free_idle()
gone = host.models()
again = host.call(plugin.embed_texts, ["leases expire"])
print(json.dumps([first, gone, bool((vectors == again).all()), host.models()[0]["in_use"]]))
host.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    import json

    first, gone, same, in_use = json.loads(done.stdout)
    assert 0.8 * size < first < 3 * size + 40 * MB
    assert (gone, same, in_use) == ([], True, False)


def test_full_collections_pass_over_what_a_model_brought_until_it_is_given_up(device):
    gc.unfreeze()  # what a test before this one left
    host = host_over(device, of(150))
    embed(host, "a")
    plugin = host.instance("embedder", {"model": "a"})
    plugin.layers = layers = Layers()
    layers.owner = layers  # modules of models refer to one another in circles
    assert not any(one is plugin for one in gc.get_objects())
    embed(host, "b")  # a goes
    gone = weakref.ref(layers)
    gc.freeze()
    del plugin.layers, layers
    embed(host, "a")  # b goes
    assert gone() is None
    host.close()


class Layers:
    owner: object


def test_measuring_imports_no_torch():
    script = (
        "import sys; from semantik_pipeline.plugins.residency import measured; m = measured();"
        "print(m.gpu, m.ram > 1_000_000, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["0", "True", "False"]
    assert measured().ram > 0
