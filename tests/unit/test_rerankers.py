"""The reranker ``late-interaction`` over an embedding model, beyond its contract, and what the built-in ones share."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.builtin.embedders import cpu_threads
from semantik_pipeline.builtin.embedders.dense_local import DenseLocalEmbedder
from semantik_pipeline.builtin.embedders.loaded_model import LoadedModel
from semantik_pipeline.builtin.embedders.micro_batches import CPU_RERANK_TOKENS, LEAST_TOKENS
from semantik_pipeline.builtin.rerankers.late_interaction import FEEDBACK_SHARE, LateInteractionReranker
from semantik_pipeline.builtin.rerankers.late_scoring import LateScoring
from semantik_pipeline.builtin.rerankers.ranking import best_first
from semantik_pipeline.builtin.rerankers.recent import Recent
from semantik_pipeline.builtin.rerankers.relevance_feedback import FADING, resemblance
from semantik_pipeline.builtin.rerankers.token_weights import TokenWeights
from semantik_pipeline.testing.tiny_models import write_tiny_embedder

VOCABULARY = {token: id for id, token in enumerate(["[PAD]", "?", "a", "7", "the", "of", "##ing", "lease", "epoch"])}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_embedder(tmp_path_factory.mktemp("models") / "tiny")


def scores(plugin, query, texts, **optional):
    return {result.index: result.score for result in asyncio.run(plugin.rerank(query, texts, **optional))}


def test_rare_words_weigh_more_and_punctuation_nothing():
    weights = TokenWeights(VOCABULARY).of(range(1, 9))
    mark, letter, digit, the, of, _, lease, epoch = weights
    assert (mark, the) == (0, 0)
    assert letter == digit > 0
    assert 0 < of < lease < epoch


def test_a_query_of_nothing_telling_weighs_all_alike():
    assert TokenWeights(VOCABULARY).of([1, 4]).tolist() == [1, 1]
    assert TokenWeights(VOCABULARY).of([]).tolist() == []


@given(st.lists(st.floats(-5, 5), max_size=20), st.none() | st.integers(1, 25))
def test_best_first_is_a_stable_permutation(given_scores, top_k):
    results = best_first(given_scores, top_k)
    everything = sorted(range(len(given_scores)), key=lambda index: -given_scores[index])
    assert [result.index for result in results] == everything[:top_k]
    assert all(result.score == given_scores[result.index] for result in results)


def test_late_interaction_is_the_weighted_mean_of_the_nearest_cosines(tiny):
    """The formula, from the token vectors that the embedder has half way through its layers."""
    plugin, query, text = LateInteractionReranker({"model": str(tiny)}), "how do leases expire", "the queue of leases"
    found = scores(plugin, query, [text])[0]
    model = plugin.loaded().model
    tokenizer = model.tokenizer
    asked, read = tokenizer.windows([query, text])
    layers, model.backend._model.layers = model.backend._model.layers, model.backend._model.layers[:1]
    states = model.read([asked, read], lambda states, keep, windows: [row.numpy() for row in states])
    model.backend._model.layers = layers
    assert len(layers) == 2
    unit = [v[: len(w.ids)] for v, w in zip(states, [asked, read], strict=True)]
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in unit]
    nearest = (unit[0][1:-1] @ unit[1][1:-1].T).max(1)  # without [CLS] and [SEP]
    weights = TokenWeights(tokenizer.vocabulary).of(asked.ids[1:-1])
    assert found == pytest.approx(float((nearest * weights).sum() / weights.sum()), abs=1e-4)


def test_late_interaction_gives_a_text_that_holds_the_query_a_one(tiny):
    found = scores(LateInteractionReranker({"model": str(tiny)}), "leases expire", ["leases expire", "the index"])
    assert found[0] == pytest.approx(1, abs=1e-3)
    assert found[1] < found[0]


def test_late_interaction_reads_the_end_of_a_long_text(tiny):
    plugin, filler = LateInteractionReranker({"model": str(tiny)}), "the index " * 60
    with_end = scores(plugin, "leases expire", [filler, filler + "leases expire"])
    assert with_end[1] > with_end[0]


def test_with_vectors_resemblance_to_the_feedback_has_its_share(tiny):
    """The formula, with the embedder's own vectors; one of the texts is longer than the window."""
    plugin, embedder = LateInteractionReranker({"model": str(tiny)}), DenseLocalEmbedder({"model": str(tiny)})
    texts, feedback = ["the queue of leases", "search the index", "a lease expires " * 60], ["a lease expires", "queue"]
    vectors = asyncio.run(embedder.embed_texts([*texts, *feedback]))
    plain = scores(plugin, "how", texts)
    found = scores(plugin, "how", texts, vectors=vectors[:3], feedback_vectors=vectors[3:])
    mean = vectors[3] + FADING * vectors[4]
    mean /= np.linalg.norm(mean)
    share = FEEDBACK_SHARE
    expected = [(plain[i] + share * max(0.0, vectors[i] @ mean)) / (1 + share) for i in range(3)]
    assert [found[i] for i in range(3)] == pytest.approx(expected, abs=1e-3)


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_resemblance_is_the_cosine_to_the_faded_sum(count, given_back, seed):
    chance = np.random.default_rng(seed)
    vectors, feedback = unit(chance.normal(size=(count, 5))), unit(chance.normal(size=(given_back, 5)))
    found = resemblance(vectors.astype(np.float32), feedback.astype(np.float32))
    towards = sum(FADING**place * one for place, one in enumerate(feedback))
    assert found == pytest.approx([max(0.0, one @ towards / np.linalg.norm(towards)) for one in vectors], abs=1e-4)


def test_what_has_no_vector_resembles_nothing():
    vectors = np.array([[1, 0], [0, 0]], dtype=np.float32)
    assert resemblance(vectors, vectors[:1]).tolist() == [1.0, 0.0]
    assert resemblance(vectors, vectors[1:]).tolist() == [0.0, 0.0]


def test_searches_side_by_side_are_each_read_once(tiny, monkeypatch):
    plugin, read = LateInteractionReranker({"model": str(tiny)}), []
    read_windows = LoadedModel.read
    monkeypatch.setattr(
        LoadedModel,
        "read",
        lambda self, windows, look, **named: (
            read.extend(w.text for w in windows) or read_windows(self, windows, look, **named)
        ),
    )
    for _ in range(3):
        for query in ("leases", "queue"):
            scores(plugin, query, ["search the index"])
    assert sorted(set(read)) == ["leases", "queue", "search the index"]
    assert len(read) == 2 + 6  # queries once, the candidate each time


def test_the_last_ones_are_kept_and_no_more():
    kept = Recent[str, int](2)
    assert kept.get("a") is None
    assert [kept.put("a", 1), kept.put("b", 2), kept.get("a"), kept.put("c", 3)] == [1, 2, 1, 3]
    assert [kept.get("a"), kept.get("b"), kept.get("c")] == [1, None, 3]


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_windows_are_looked_at_together_as_each_would_be(ids, seed):
    """The formula by unit vectors, window by window."""
    from semantik_pipeline.builtin.embedders.model_tokenizer import Window

    special = {0, 1}
    tokenizer = SimpleNamespace(vocabulary=VOCABULARY, special_ids=special)
    scoring = LateScoring(SimpleNamespace(tokenizer=tokenizer, card=SimpleNamespace()))
    chance, longest = np.random.default_rng(seed), max(map(len, ids))
    states = chance.normal(size=(len(ids), longest, 8)).astype(np.float32)
    wanted = unit(chance.normal(size=(3, 8)).astype(np.float32))
    keep = np.arange(longest) < np.array([len(one) for one in ids])[:, None]
    windows = [Window(owner=0, text="", ids=one, tokens=len(one)) for one in ids]
    looked = scoring._look(*map(torch.from_numpy, (wanted, states, keep)), windows)
    for nearest, state, one in zip(looked, states, ids, strict=True):
        cosines = unit(state[: len(one)]) @ wanted.T
        own = [row for row, id in zip(cosines, one, strict=True) if id not in special]
        assert nearest == pytest.approx(np.max(own, axis=0, initial=-1.0), abs=1e-5)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_reranking_on_a_cpu_takes_small_turns(tiny, monkeypatch):
    """So that a query that comes meanwhile waits for little."""
    plugin, padded = LateInteractionReranker({"model": str(tiny), "device": "cpu"}), []
    backend = plugin.loaded().model.backend
    forward = backend.states

    def counted(windows, depth):
        padded.append(len(windows) * max(len(window.ids) for window in windows))
        return forward(windows, depth)

    monkeypatch.setattr(backend, "states", counted)
    scores(plugin, "leases", ["a lease expires in the queue"] * 300)
    in_turn = max(LEAST_TOKENS, CPU_RERANK_TOKENS // plugin.loaded().model.streams)
    assert in_turn / 2 < max(padded) <= in_turn


def test_first_searches_at_once_load_a_model_once(tiny, monkeypatch):
    plugin, loads, load = LateInteractionReranker({"model": str(tiny)}), [], LateInteractionReranker.load

    def slow(self, located):
        loads.append(located)
        time.sleep(0.2)
        return load(self, located)

    monkeypatch.setattr(LateInteractionReranker, "load", slow)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: plugin.loaded(), range(4)))
    assert len(loads) == 1 and all(one is found[0] for one in found)


def test_of_plugins_that_share_a_model_the_smallest_budget_counts(tiny):
    budgets = []
    first = DenseLocalEmbedder({"model": str(tiny), "max_batch_tokens": 512})
    model = first._loaded()
    budgets.append(model.batch_tokens)
    for wanted in (128, 4096):
        assert DenseLocalEmbedder({"model": str(tiny), "max_batch_tokens": wanted})._loaded() is model
        budgets.append(model.batch_tokens)
    assert budgets == [512, 128, 128]


def test_a_cancelled_reranking_leaves_the_device(tiny, monkeypatch):
    monkeypatch.setattr(cpu_threads, "cores", lambda: 2)  # and so many forwards are under way at most
    plugin, forwards, begun = LateInteractionReranker({"model": str(tiny)}), [], threading.Event()
    scoring = plugin.loaded()
    scores(plugin, "leases", ["the queue"])
    scoring.model.batch_tokens = 8  # a micro-batch for each text
    forward, go_on = scoring.model.backend.states, threading.Event()

    def slow(windows, depth):
        forwards.append(len(windows))
        begun.set()
        go_on.wait(20)
        return forward(windows, depth)

    monkeypatch.setattr(scoring.model.backend, "states", slow)

    async def give_up():
        work = asyncio.ensure_future(plugin.rerank("leases", ["the queue", "the index"] * 20))
        await asyncio.to_thread(begun.wait, 20)
        work.cancel()
        await asyncio.wait([work])
        go_on.set()

    asyncio.run(give_up())
    plugin._threads.shutdown()  # waits for the thread that was at work
    assert 1 <= len(forwards) <= 2


def test_those_that_wait_for_the_device_leave_the_loops_threads_to_others(tiny, monkeypatch):
    plugin, go_on = LateInteractionReranker({"model": str(tiny)}), threading.Event()

    def waiting(query, documents, vectors, feedback_vectors, stop):
        go_on.wait(20)
        return [0.0] * len(documents)

    monkeypatch.setattr(plugin, "_scores", waiting)

    async def beside():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        works = [asyncio.ensure_future(plugin.rerank("leases", ["the queue"])) for _ in range(4)]
        try:
            return await asyncio.wait_for(asyncio.to_thread(lambda: "neighbours"), 5)
        finally:
            go_on.set()
            await asyncio.gather(*works)

    assert asyncio.run(beside()) == "neighbours"


def test_late_interaction_shares_the_embedders_weights(tiny):
    embedder, reranker = DenseLocalEmbedder({"model": str(tiny)}), LateInteractionReranker({"model": str(tiny)})

    async def both():
        await embedder.initialize()
        await reranker.initialize()

    asyncio.run(both())
    assert embedder._model is reranker.loaded().model
    assert reranker.get_model_info()["device"] == embedder.get_model_info()["device"]


@pytest.mark.usefixtures("packaged_model")
def test_late_interaction_finds_the_answer_among_distractors():
    texts = [
        "The cat sat on the mat and looked out of the window.",
        "A lease ends fifteen seconds after its last renewal; then another worker may claim the unit.",
        "Our pipeline is written in Python.",
    ]
    results = asyncio.run(LateInteractionReranker().rerank("when does a lease expire?", texts))
    assert results[0].index == 1
