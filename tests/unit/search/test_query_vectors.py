"""Vectors of queries are kept, and queries that wait go through the model together."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from semantik_pipeline.documents import SparseVector
from semantik_pipeline.errors import DimensionMismatch, PluginError, ServiceUnavailable
from semantik_pipeline.plugins import EmbeddingMode, EmbeddingPlugin
from semantik_pipeline.search import query_vector
from semantik_pipeline.search.query_vector import QueryVectors

VIEW = SimpleNamespace(generation_id=7, index="g7", dimension=2, collection="default")


class Lengths(EmbeddingPlugin):
    """A text's length and 1; remembers what each pass took. ``bad`` fails; passes wait while ``closed``."""

    PLUGIN_ID = "lengths"

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[list[str]] = []
        self.begun, self.open = threading.Semaphore(0), threading.Event()
        self.open.set()

    async def embed_texts(self, texts, batch_size=32, *, mode=EmbeddingMode.DOCUMENT):
        assert mode is EmbeddingMode.QUERY
        self.passes.append(list(texts))
        self.begun.release()
        assert self.open.wait(30)
        if "bad" in texts:
            raise PluginError("There is a bad text.")
        if "away" in texts:
            raise ServiceUnavailable("The endpoint is away.")
        return [[float(len(text)), 1.0] for text in texts]

    async def embed_sparse(self, texts, *, mode=EmbeddingMode.DOCUMENT):
        rows = await self.embed_texts(texts, mode=mode)
        return [SparseVector(indices=[1], values=[row[0]]) for row in rows]


class Runtime:
    def __init__(self) -> None:
        self.plugin = Lengths()
        self.host = self

    def embedder(self, generation_id):
        return self.plugin

    def generation(self, generation_id):
        return SimpleNamespace(config={"sparse": {"plugin": "lengths", "options": {}}})

    def check_encoder(self, generation, leg):
        pass

    def instance(self, plugin_id, options, *, frozen, kind):
        return self.plugin

    def call(self, method, *args, **named):
        import asyncio

        return asyncio.run(method(*args, **named))


@pytest.fixture
def runtime() -> Runtime:
    return Runtime()


def asked_beside(runtime, vectors, ask, texts) -> None:
    """Ask for all texts, each in a thread: the model is at work on the first while the others come."""
    runtime.plugin.open.clear()
    threads = [threading.Thread(target=ask, args=(text,)) for text in texts]
    threads[0].start()
    assert runtime.plugin.begun.acquire(timeout=30)
    for thread in threads[1:]:
        thread.start()
    until = time.monotonic() + 30
    while len(vectors._waiting) < len(texts):
        assert any(thread.is_alive() for thread in threads) and time.monotonic() < until
        time.sleep(0.001)
    runtime.plugin.open.set()
    for thread in threads:
        thread.join(30)


def test_a_query_that_was_asked_is_not_embedded_again(runtime):
    vectors = QueryVectors()
    (first,) = vectors.of(runtime, VIEW, ["leases"])
    (second,) = vectors.of(runtime, VIEW, ["leases"])
    assert runtime.plugin.passes == [["leases"]]
    assert first.tolist() == second.tolist() == [6.0, 1.0]
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0.0


def test_texts_that_are_asked_for_together_take_one_pass_and_keep_their_order(runtime):
    vectors = QueryVectors()
    vectors.of(runtime, VIEW, ["b"])
    found = vectors.of(runtime, VIEW, ["aaa", "b", "aa", "aaa"])
    assert [one[0] for one in found] == [3, 1, 2, 3]
    assert runtime.plugin.passes == [["b"], ["aaa", "aa"]]


def test_queries_that_come_while_the_model_is_at_work_go_through_it_together(runtime):
    vectors, found = QueryVectors(), {}

    def ask(text: str) -> None:
        (found[text],) = vectors.of(runtime, VIEW, [text])

    asked_beside(runtime, vectors, ask, ["a" * number for number in range(1, 12)])
    assert len(runtime.plugin.passes) == 2
    assert {text: vector[0] for text, vector in found.items()} == {"a" * number: number for number in range(1, 12)}


def test_a_text_that_fails_costs_those_beside_it_nothing(runtime):
    vectors, outcomes = QueryVectors(), {}

    def ask(text: str) -> None:
        try:
            (outcomes[text],) = vectors.of(runtime, VIEW, [text])
        except PluginError as error:
            outcomes[text] = error

    asked_beside(runtime, vectors, ask, ["first", "bad", "good", "fine"])
    assert isinstance(outcomes.pop("bad"), PluginError)
    assert {text: vector[0] for text, vector in outcomes.items()} == {"first": 5, "good": 4, "fine": 4}
    with pytest.raises(PluginError):  # it is not remembered as anything
        vectors.of(runtime, VIEW, ["bad"])


def test_what_is_no_texts_fault_is_met_once_by_all_that_wait(runtime):
    vectors, outcomes = QueryVectors(), {}

    def ask(text: str) -> None:
        try:
            (outcomes[text],) = vectors.of(runtime, VIEW, [text])
        except ServiceUnavailable as error:
            outcomes[text] = error

    asked_beside(runtime, vectors, ask, ["first", "away", "good", "fine"])
    assert [isinstance(outcomes[text], ServiceUnavailable) for text in ("first", "away", "good", "fine")] == [
        *(False, True, True, True)
    ]
    assert len(runtime.plugin.passes) == 2
    assert vectors.of(runtime, VIEW, ["good"])[0][0] == 4


def test_a_remote_model_is_asked_by_each_for_itself(runtime):
    vectors, found = QueryVectors(), []
    runtime.plugin.PROVIDER_TYPE = "remote"
    runtime.plugin.open.clear()
    hanging = threading.Thread(target=lambda: found.extend(vectors.of(runtime, VIEW, ["hangs"])))
    hanging.start()
    assert runtime.plugin.begun.acquire(timeout=30)
    other = threading.Thread(target=lambda: found.extend(vectors.of(runtime, VIEW, ["other one"])))
    other.start()
    assert runtime.plugin.begun.acquire(timeout=30), "it waits for a request that hangs"
    runtime.plugin.open.set()
    hanging.join(30)
    other.join(30)
    assert sorted(one[0] for one in found) == [5, 9]
    vectors.of(runtime, VIEW, ["hangs"])
    assert runtime.plugin.passes == [["hangs"], ["other one"]]


def test_more_than_one_pass_takes_are_embedded_all_the_same(runtime, monkeypatch):
    monkeypatch.setattr(query_vector, "TOGETHER", 4)
    found = QueryVectors().of(runtime, VIEW, ["a" * number for number in range(1, 11)])
    assert [one[0] for one in found] == list(range(1, 11))
    assert [len(one) for one in runtime.plugin.passes] == [4, 4, 2]


def test_what_was_not_asked_for_lately_is_dropped(runtime, monkeypatch):
    monkeypatch.setattr(query_vector, "KEPT", 2)
    vectors = QueryVectors()
    for text in ("a", "b", "a", "c", "a", "b"):
        vectors.of(runtime, VIEW, [text])
    assert runtime.plugin.passes == [["a"], ["b"], ["c"], ["b"]]


def test_a_generation_that_is_gone_leaves_no_vector(runtime):
    vectors = QueryVectors()
    vectors.of(runtime, VIEW, ["a"])
    vectors.forget("g7")
    vectors.of(runtime, VIEW, ["a"])
    assert runtime.plugin.passes == [["a"], ["a"]]


def test_a_query_that_outlives_its_generation_does_not_answer_for_the_next_of_that_id(runtime):
    vectors = QueryVectors()
    runtime.plugin.open.clear()
    late = threading.Thread(target=vectors.of, args=(runtime, VIEW, ["a"]))
    late.start()
    assert runtime.plugin.begun.acquire(timeout=30)
    vectors.forget("g7")
    runtime.plugin.open.set()
    late.join(30)
    vectors.of(runtime, SimpleNamespace(**{**vars(VIEW), "index": "g8"}), ["a"])
    assert runtime.plugin.passes == [["a"], ["a"]]


def test_vectors_of_another_length_or_number_are_refused(runtime):
    with pytest.raises(DimensionMismatch, match="2 dimensions, but the index of collection 'default' has 3"):
        QueryVectors().of(runtime, SimpleNamespace(**{**vars(VIEW), "dimension": 3}), ["a"])
    runtime.plugin.embed_texts = _one_only
    with pytest.raises(PluginError, match="1 vectors for 2 queries"):
        QueryVectors().of(runtime, VIEW, ["a", "b"])


def test_those_of_a_sparse_model_are_kept_beside_and_go_with_their_generation(runtime):
    vectors = QueryVectors()
    assert vectors.sparse(runtime, VIEW, "leases").values == vectors.sparse(runtime, VIEW, "leases").values == [6.0]
    assert vectors.of(runtime, VIEW, ["leases"])[0].tolist() == [6.0, 1.0]
    assert runtime.plugin.passes == [["leases"], ["leases"]]
    vectors.forget("g7")
    vectors.sparse(runtime, VIEW, "leases")
    assert len(runtime.plugin.passes) == 3


def test_queries_for_a_sparse_model_go_through_it_together(runtime):
    vectors, found = QueryVectors(), {}

    def ask(text: str) -> None:
        found[text] = vectors.sparse(runtime, VIEW, text).values[0]

    asked_beside(runtime, vectors, ask, ["a" * number for number in range(1, 12)])
    assert len(runtime.plugin.passes) == 2
    assert found == {"a" * number: number for number in range(1, 12)}


async def _one_only(texts, batch_size=32, *, mode):
    return [[1.0, 1.0]]
