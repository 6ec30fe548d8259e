"""The plugin host: one instance for each configuration, one event loop, fingerprints without initialising."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from semantik_pipeline.contracts import ConnectorPlugin, EmbeddingPlugin, RerankerPlugin
from semantik_pipeline.documents import IngestedDocument, content_hash
from semantik_pipeline.errors import PluginConfigError, PluginError, PluginNotFoundError, UsageError
from semantik_pipeline.plugins.host import PluginHost
from semantik_pipeline.plugins.loader import LoadReport
from semantik_pipeline.plugins.registry import LoadedPlugin, PluginRegistry
from semantik_pipeline.plugins.shape import conform, kind_of
from semantik_pipeline.plugins.state import PluginState


class Embedder(EmbeddingPlugin):
    PLUGIN_ID = "embedder"

    def __init__(self, config=None):
        super().__init__(config)
        self.events = []
        self.threads = set()

    @classmethod
    def get_config_schema(cls):
        return {
            "model": {"type": "string", "default": "small"},
            "batch_size": {"type": "integer", "default": 4, "x-operational": True},
            "api_key": {"type": "string", "secret": True},
        }

    @classmethod
    def supports_model(cls, name):
        return name.startswith("small")

    def output_revision(self):
        assert "initialize" not in self.events, "a fingerprint needs no model"
        return "r1"

    async def initialize(self, config, model_name):
        await asyncio.sleep(0.05)
        self.events.append("initialize")
        self.asked = (config["batch_size"], model_name)

    async def cleanup(self):
        self.events.append("cleanup")

    async def embed_texts(self, texts):
        self.threads.add(threading.current_thread().name)
        return [[float(len(text))] for text in texts]

    def count_tokens(self, texts):
        self.threads.add(threading.current_thread().name)
        return [len(text) for text in texts]


class Unlucky(RerankerPlugin):
    PLUGIN_ID = "unlucky"
    tries = 0

    def initialize(self):  # plain is fine too
        type(self).tries += 1
        if self.tries == 1:
            raise OSError("the disk blinked")

    async def rerank(self, query, documents):
        return []

    async def block(self):
        time.sleep(0.3)  # noqa: ASYNC251 - this is what the log must tell

    async def quit(self):
        raise SystemExit(3)

    async def late(self):
        raise TimeoutError("the plugin's own")


class Numbers(ConnectorPlugin):
    PLUGIN_ID = "numbers"
    closed = 0
    made = 0

    async def load_documents(self, source_id=None):
        try:
            async with asyncio.timeout(60):  # works only if one task runs the generator from end to end
                for number in range(5):
                    type(self).made += 1
                    yield number
                    await asyncio.sleep(0)
        finally:
            type(self).closed += 1

    async def broken(self):
        yield 1
        raise ValueError("torn")


def host_of(*classes, state=None) -> PluginHost:
    plugins = []
    for cls in classes:
        kind = kind_of(cls, None)
        cls = conform(cls, kind)
        about = cls.get_manifest()
        plugins.append(
            LoadedPlugin(id=cls.PLUGIN_ID, kind=kind, cls=cls, manifest=about, origin="test 1", builtin=False)
        )
    return PluginHost(PluginRegistry.of(plugins, {}), LoadReport(), state or PluginState())


@pytest.fixture
def host():
    Unlucky.tries = Numbers.closed = Numbers.made = 0
    host = host_of(Embedder, Unlucky, Numbers)
    yield host
    host.close()


# -- instances --------------------------------------------------------------------------------------------------------


def test_equal_effective_configurations_share_an_instance_and_others_do_not(host):
    one = host.instance("embedder")
    assert one.asked == (4, "small")
    assert host.instance("embedder", {"model": "small"}) is one
    assert host.light("embedder") is one
    other = host.instance("embedder", {"model": "smaller"})
    assert other is not one
    assert other.asked == (4, "smaller")


def test_threads_that_ask_at_once_initialise_once(host):
    found = []
    threads = [threading.Thread(target=lambda: found.append(host.instance("embedder"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    assert found[0].events == ["initialize"]


def test_one_plugin_does_not_wait_for_another():
    gate = threading.Event()

    class Slow(RerankerPlugin):
        PLUGIN_ID = "slow"

        def initialize(self):
            assert gate.wait(30)

        async def rerank(self, query, documents): ...

    host = host_of(Embedder, Slow)
    waiting = threading.Thread(target=host.instance, args=("slow",))
    waiting.start()
    assert host.instance("embedder").events == ["initialize"]  # would hang if it waited for the gate
    gate.set()
    waiting.join()
    host.close()


def test_a_failed_initialisation_is_tried_anew_with_a_new_instance(host):
    with pytest.raises(OSError, match="blinked"):
        host.instance("unlucky")
    assert host.instance("unlucky").tries == 2


def test_a_light_instance_is_not_initialised_and_needs_no_secret(host, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    light = host.light("embedder", {"api_key_env": "NO_SUCH_KEY"})
    assert light.events == []
    with pytest.raises(PluginConfigError, match="NO_SUCH_KEY"):
        host.instance("embedder", {"api_key_env": "NO_SUCH_KEY"})
    monkeypatch.setenv("NO_SUCH_KEY", "now there")
    assert host.instance("embedder", {"api_key_env": "NO_SUCH_KEY"}).config["api_key"] == "now there"


def test_closing_cleans_up_and_ends_the_host():
    host = host_of(Embedder)
    plugin = host.instance("embedder")
    host.close()
    host.close()
    assert plugin.events == ["initialize", "cleanup"]
    with pytest.raises(PluginError, match="closed"):
        host.instance("embedder")


def test_a_class_that_keeps_no_config_has_one_for_the_defaults():
    class Bare:
        PLUGIN_ID = "bare"

        def __init__(self, config=None):
            self.own = config

        async def embed_texts(self, texts, **kwargs):
            return [[1.0, 2.0] for _ in texts]

    host = host_of(Bare)
    plugin = host.instance("bare", {"model": "m"})
    assert host.call(plugin.get_dimension) == 2
    assert plugin.get_model_info() == {"model": "m"}
    host.close()


# -- fingerprints ------------------------------------------------------------------------------------------------------


def test_fingerprints_follow_what_shapes_the_output_and_nothing_else(host):
    mark = host.fingerprint("embedder")
    assert len(mark) == 32
    assert host.fingerprint("embedder", {"batch_size": 8, "api_key_env": "KEY"}) == mark
    assert host.fingerprint("embedder", {"model": "smaller"}) != mark
    assert host.fingerprint("embedder", None, "tokenizer-1") != mark
    assert host.frozen_config("embedder", {"batch_size": 8}) == {"model": "small"}


def test_a_new_output_version_is_a_new_fingerprint(host, monkeypatch):
    mark = host.fingerprint("embedder")
    monkeypatch.setattr(Embedder, "OUTPUT_VERSION", "2")
    assert host.fingerprint("embedder") != mark


def test_the_state_file_does_not_reach_into_a_generation():
    host = host_of(Embedder, state=PluginState(configs={"embedder": {"model": "smaller", "batch_size": 9}}))
    frozen = {"model": "small"}
    assert host.effective_config("embedder", frozen, frozen=True) == {"model": "small", "batch_size": 9}
    assert host.fingerprint("embedder", frozen, frozen=True) == host_of(Embedder).fingerprint("embedder")
    host.close()


def test_a_model_names_its_plugin(host):
    assert host.supports_model("small-v2") == "embedder"
    with pytest.raises(UsageError, match=r"'huge'.*embedder"):
        host.supports_model("huge")

    class Twin(Embedder):
        PLUGIN_ID = "twin"

    with pytest.raises(UsageError, match="embedder, twin"):
        host_of(Embedder, Twin).supports_model("small")


def test_a_plugin_that_is_not_there_is_told_why(host):
    with pytest.raises(PluginNotFoundError, match="Did you mean embedder"):
        host.instance("embeder")
    with pytest.raises(PluginNotFoundError) as other_kind:
        host.instance("embeder", kind="reranker")
    assert "Did you mean" not in str(other_kind.value) and "Choose one of: " in str(other_kind.value)
    with pytest.raises(PluginNotFoundError, match=r"is an embedding plugin; a reranker.*unlucky"):
        host.instance("embedder", kind="reranker")


# -- calling -----------------------------------------------------------------------------------------------------------


def test_plain_methods_run_here_and_coroutines_on_the_loop(host):
    plugin = host.instance("embedder")
    assert host.call(plugin.count_tokens, ["abc"]) == [3]
    assert plugin.threads == {threading.current_thread().name}
    plugin.threads.clear()
    assert host.call(plugin.embed_texts, ["abc"], batch_size=3, mode="query") == [[3.0]]
    assert plugin.threads == {"semantik-plugins"}


def test_a_call_is_one_task(host):
    async def tasks():
        return len(asyncio.all_tasks())

    assert host.call(tasks) == 1


def test_a_plugins_own_timeout_error_is_not_taken_for_ours(host):
    with pytest.raises(TimeoutError, match="the plugin's own"):
        host.call(host.light("unlucky").late)


def test_calling_from_the_loop_itself_is_refused(host):
    plugin = host.light("embedder")

    async def nested():
        return host.call(plugin.embed_texts, ["x"])

    with pytest.raises(PluginError, match="own thread"):
        host.call(nested)


def test_a_plugin_that_quits_does_not_end_the_loop(host):
    plugin = host.light("unlucky")
    with pytest.raises(PluginError, match="tried to end the process"):
        host.call(plugin.quit)
    assert host.call(plugin.rerank, "q", []) == []


def test_a_plugin_that_blocks_the_loop_is_named(host, caplog):
    with caplog.at_level(logging.WARNING, logger="semantik.plugins"):
        host.call(host.light("unlucky").block)
    assert any("unlucky" in record.getMessage() and "blocked" in record.getMessage() for record in caplog.records)


def test_a_patient_plugin_is_not(host, caplog):
    with caplog.at_level(logging.WARNING, logger="semantik.plugins"):
        host.call(asyncio.sleep, 0.4)
    assert not caplog.records


def test_iterating_reads_small_items_ahead_and_gives_them_in_order(host):
    items = host.iterate(host.light("numbers").load_documents())
    assert next(items) == 0
    assert list(items) == [1, 2, 3, 4]
    assert Numbers.closed == 1


def test_stopping_early_closes_the_source(host):
    items = host.iterate(host.light("numbers").load_documents())
    next(items)
    items.close()
    assert Numbers.closed == 1


def test_documents_with_their_content_are_not_read_ahead(host):
    read = []

    async def documents():
        for number in range(5):
            read.append(number)
            yield IngestedDocument(str(number), str(number), "numbers", {}, content_hash(str(number)))

    items = host.iterate(documents())
    assert next(items).unique_id == "0"
    assert read == [0]
    assert len(list(items)) == 4


def test_an_error_in_the_source_arrives(host):
    items = host.iterate(host.light("numbers").broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="torn"):
        next(items)


def test_a_plain_iterable_and_a_coroutine_of_one_are_fine(host):
    async def later():
        return iter([1, 2])

    assert list(host.iterate([1, 2])) == [1, 2]
    assert list(host.iterate(later())) == [1, 2]


def test_closing_wakes_whoever_waits():
    host = host_of(Unlucky)
    caught = []

    def wait():
        try:
            host.call(asyncio.sleep, 600)
        except PluginError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not host._loop._loop or not asyncio.all_tasks(host._loop._loop):
        time.sleep(0.01)
    host.close()
    thread.join(30)
    assert len(caught) == 1


def test_there_are_no_services_outside_a_child(host):
    with pytest.raises(PluginError, match="child"):
        host.service("embed", [])
