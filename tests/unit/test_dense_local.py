"""dense-local beyond its contract: equal to sentence-transformers, windows, prompts, memory, turns."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from semantik_pipeline.builtin.embedders import loaded_model, traced_forward
from semantik_pipeline.builtin.embedders.bert_backend import BertBackend
from semantik_pipeline.builtin.embedders.dense_local import DenseLocalEmbedder
from semantik_pipeline.builtin.embedders.packaged_model import packaged_folder
from semantik_pipeline.contracts import EmbeddingMode
from semantik_pipeline.errors import PluginConfigError, PluginLoadError, TransientError
from semantik_pipeline.testing.tiny_models import WORDS, write_tiny_embedder

REPO = Path(__file__).parents[2]

TEXTS = [" ".join(WORDS[n % 7 : n % 13 + 2]) for n in range(40)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_embedder(tmp_path_factory.mktemp("models") / "tiny")


def embed(plugin: DenseLocalEmbedder, texts: list[str], mode: EmbeddingMode = EmbeddingMode.DOCUMENT) -> np.ndarray:
    return asyncio.run(plugin.embed_texts(texts, mode=mode))


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one * other).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_light_forward_equals_sentence_transformers(tmp_path, pooling, normalize):
    from sentence_transformers import SentenceTransformer

    folder = write_tiny_embedder(tmp_path / "model", seed=3, pooling=pooling, normalize=normalize)
    plugin = DenseLocalEmbedder({"model": str(folder), "precision": "float32", "normalize": False, "device": "cpu"})
    ours = embed(plugin, TEXTS)
    assert plugin.get_model_info()["backend"] == "light"
    reference = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    assert cosines(ours, reference).min() > 0.9999
    assert np.allclose(ours, reference, atol=1e-4)


@pytest.mark.usefixtures("packaged_model")
def test_the_packaged_model_in_any_precision_equals_sentence_transformers():
    from sentence_transformers import SentenceTransformer

    texts = _paragraphs()[:6]
    reference = SentenceTransformer(str(packaged_folder()), device="cpu").encode(texts)
    for precision, least in (("float32", 0.9999), ("bfloat16", 0.9995)):
        plugin = DenseLocalEmbedder({"precision": precision, "device": "cpu"})
        vectors = embed(plugin, texts)
        assert vectors.dtype == np.float32
        assert cosines(vectors, reference).min() > least
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_traced_and_untraced_give_the_same(tiny, monkeypatch):
    monkeypatch.setattr(traced_forward, "TRACED_FROM", 2)
    plugin = DenseLocalEmbedder({"model": str(tiny), "max_batch_tokens": 64})
    untraced = embed(plugin, TEXTS[:1])
    hidden = plugin._model.backend._hidden
    before = hidden.forward
    traced = embed(plugin, TEXTS)
    assert hidden.forward is not before
    assert cosines(untraced, traced[:1]).min() > 0.99999
    hidden.forward = before
    assert np.allclose(traced, embed(plugin, TEXTS), atol=1e-5)


def test_a_text_longer_than_the_window_is_the_average_of_its_windows(tiny, caplog):
    # In bfloat16 some hardware rounds a row by the batch that it is in.
    plugin = DenseLocalEmbedder({"model": str(tiny), "normalize": False, "precision": "float32"})
    limit = plugin.max_input_tokens()
    parts = ["search " * limit, "leases " * limit, "queue " * (limit // 2)]
    with caplog.at_level(logging.WARNING):
        whole = embed(plugin, ["".join(parts), "the"])
    assert "1 of 2 texts exceed the window" in caplog.text
    separate = embed(plugin, [part.strip() for part in parts])
    expected = np.average(separate, axis=0, weights=[limit, limit, limit // 2])
    assert np.allclose(whole[0], expected, atol=1e-4)
    assert np.allclose(whole[1:], embed(plugin, ["the"]), atol=1e-5)


def test_prompts_shape_their_mode_only(tiny):
    plain = DenseLocalEmbedder({"model": str(tiny)})
    asking = DenseLocalEmbedder({"model": str(tiny), "query_prompt": "search "})
    query = EmbeddingMode.QUERY
    assert np.allclose(embed(asking, ["leases"], query), embed(plain, ["search leases"], query), atol=1e-5)
    assert np.allclose(embed(asking, ["leases"]), embed(plain, ["leases"]), atol=1e-5)
    assert not np.allclose(embed(asking, ["leases"], query), embed(plain, ["leases"], query), atol=1e-2)


def test_two_plugins_of_one_model_share_its_weights_and_free_them(tiny):
    one, other = DenseLocalEmbedder({"model": str(tiny)}), DenseLocalEmbedder({"model": str(tiny)})
    embed(one, ["a"]), embed(other, ["a"])
    assert one._model is other._model
    key = next(key for key, model in loaded_model._loaded.items() if model is one._model)
    asyncio.run(one.cleanup()), asyncio.run(other.cleanup())
    gc.collect()
    assert key not in loaded_model._loaded


def test_out_of_memory_halves_the_budget_and_remembers(tiny, monkeypatch):
    plugin = DenseLocalEmbedder({"model": str(tiny), "max_batch_tokens": 4096})
    expected = embed(plugin, TEXTS)
    sizes, forward = [], BertBackend.embed

    def small_device(self, windows, prompt):
        sizes.append(len(windows))
        if len(windows) > 8:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory")
        return forward(self, windows, prompt)

    monkeypatch.setattr(BertBackend, "embed", small_device)
    assert np.allclose(embed(plugin, TEXTS), expected, atol=1e-5)
    assert max(sizes) > 8
    sizes.clear()
    assert np.allclose(embed(plugin, TEXTS), expected, atol=1e-5)
    assert max(sizes) <= 16, "the budget was remembered; only shorter texts may try a wider batch"


def test_out_of_memory_at_one_text_is_an_error_that_names_the_device(tiny, monkeypatch):
    def no_memory(self, windows, prompt):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(BertBackend, "embed", no_memory)
    with pytest.raises(TransientError, match="'cpu' does not have enough memory"):
        embed(DenseLocalEmbedder({"model": str(tiny), "device": "cpu"}), TEXTS)


def test_other_errors_are_not_taken_for_a_lack_of_memory(tiny, monkeypatch):
    def broken(self, windows, prompt):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(BertBackend, "embed", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        embed(DenseLocalEmbedder({"model": str(tiny)}), TEXTS)


def test_the_loop_goes_on_and_a_query_passes_bulk_work(tiny, monkeypatch):
    """A bulk call of many micro-batches is under way; a query is answered before it ends."""
    plugin = DenseLocalEmbedder({"model": str(tiny), "max_batch_tokens": 1})
    ended: list[str] = []

    async def both() -> None:
        await plugin.initialize()
        bulk = asyncio.create_task(plugin.embed_texts(TEXTS * 20))
        bulk.add_done_callback(lambda _: ended.append("bulk"))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(plugin.embed_single, "leases")
        ended.append("query")
        await bulk

    asyncio.run(both())
    assert ended == ["query", "bulk"]


def test_a_querys_vector_comes_while_the_event_loop_is_busy(tiny):
    plugin = DenseLocalEmbedder({"model": str(tiny)})
    alike = asyncio.run(plugin.embed_texts(["leases"], mode=EmbeddingMode.QUERY))[0]

    async def busy() -> np.ndarray:
        return plugin.embed_single("leases")  # the loop does nothing else meanwhile

    assert asyncio.run(busy()) == pytest.approx(alike, abs=1e-6)


def test_a_cancelled_call_leaves_the_device(tiny, monkeypatch):
    plugin, forward, batches = DenseLocalEmbedder({"model": str(tiny), "max_batch_tokens": 1}), BertBackend.embed, []
    begun = threading.Event()

    def counted(self, windows, prompt):
        batches.append(len(windows))
        begun.set()
        return forward(self, windows, prompt)

    monkeypatch.setattr(BertBackend, "embed", counted)

    async def cancel() -> None:
        await plugin.initialize()
        bulk = asyncio.create_task(plugin.embed_texts(TEXTS * 500))
        await asyncio.to_thread(begun.wait, 30)
        bulk.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bulk
        plugin._threads.shutdown(wait=True)

    asyncio.run(cancel())
    assert len(batches) < len(TEXTS) * 500


def test_a_device_that_is_not_there_and_weights_that_are_damaged_are_named(tiny, tmp_path):
    with pytest.raises(PluginConfigError, match="'cuda:99'"):
        embed(DenseLocalEmbedder({"model": str(tiny), "device": "cuda:99"}), ["a"])
    damaged = write_tiny_embedder(tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes((damaged / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(PluginLoadError, match="damaged"):
        embed(DenseLocalEmbedder({"model": str(damaged)}), ["a"])


def test_health_says_where_the_model_is_or_what_to_do(tiny):
    good = asyncio.run(DenseLocalEmbedder.health_check({"model": str(tiny)}))
    bad = asyncio.run(DenseLocalEmbedder.health_check({"model": "nobody/nothing"}))
    assert (good.status, bad.status) == ("healthy", "unhealthy")
    assert "nobody/nothing" in bad.reason and "semantik models pull" in bad.reason


def test_which_models_it_supports(tiny, tmp_path):
    assert DenseLocalEmbedder.supports_model(str(tiny))
    assert DenseLocalEmbedder.supports_model("all-MiniLM-L6-v2")
    assert DenseLocalEmbedder.supports_model("sentence-transformers/all-mpnet-base-v2")
    assert not DenseLocalEmbedder.supports_model(str(tmp_path))
    assert not DenseLocalEmbedder.supports_model("text-embedding-3-small")


def _paragraphs() -> list[str]:
    """Paragraphs of the manual."""
    pages = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
    texts = [part for page in pages for part in page.read_text("utf-8").split("\n\n") if len(part) > 300]
    return [text[:600] for text in texts[:20]]
