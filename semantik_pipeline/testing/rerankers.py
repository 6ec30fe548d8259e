"""The requirements for every reranker, as a test class for authors.

Subclass :class:`RerankerContract` in your tests and give it your plugin::

    class TestMine(RerankerContract):
        def make_plugin(self):
            return MyReranker()
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import math
from collections.abc import Sequence
from typing import Any

import jsonschema
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from semantik_pipeline.contracts import RerankerPlugin
from semantik_pipeline.documents import RerankResult
from semantik_pipeline.errors import PluginError

QUERY = "how do leases expire"
TEXTS = [
    "a worker takes from the queue",
    "leases expire when nobody renews them",
    "",
    "the index holds vectors",
    "the index holds vectors",
    "\x00 odd \U0001f680 第一句话 \udc80",
    "search the document " * 200,
]


def check_ranking(results: Sequence[RerankResult], count: int, top_k: int | None = None) -> None:
    """Assert that the results are ``count`` documents (or the best ``top_k``), each once, best first; finite scores."""
    indices = [result.index for result in results]
    assert len(indices) == (count if top_k is None else min(top_k, count))
    assert len(set(indices)) == len(indices), "each index at most once"
    assert all(0 <= index < count for index in indices), "indices are into the documents that were given"
    scores = [result.score for result in results]
    assert all(math.isfinite(score) for score in scores), "scores are finite"
    assert scores == sorted(scores, reverse=True), "best first"


def vectors_of(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors (n, 8) float32; equal texts have equal vectors."""
    rows = np.ones((len(texts), 8), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        seed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        row += np.random.default_rng(list(seed)).normal(size=8).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class RerankerContract:
    """Tests that every reranker must pass. A reranker that accepts vectors gets them."""

    def make_plugin(self) -> RerankerPlugin:
        raise NotImplementedError

    def rerank(
        self, query: str, texts: list[str], top_k: int | None = None, *, alone: bool = False
    ) -> list[RerankResult]:
        """``alone``: pass only the texts, without the other data that a search has about them."""
        known = {"vectors": vectors_of(texts), "feedback_vectors": vectors_of(TEXTS[:2])}
        there: dict[str, Any] = {} if alone else known

        async def life() -> list[RerankResult]:
            plugin = self.make_plugin()
            parameters = inspect.signature(plugin.rerank).parameters
            anything = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
            optional: dict[str, Any] = {name: value for name, value in there.items() if anything or name in parameters}
            await plugin.initialize()
            try:
                return await plugin.rerank(query, texts, top_k, **optional)
            finally:
                await plugin.cleanup()

        return asyncio.run(life())

    def test_it_permutes_its_documents(self):
        check_ranking(self.rerank(QUERY, TEXTS), len(TEXTS))

    def test_the_best_few(self):
        check_ranking(self.rerank(QUERY, TEXTS, 2), len(TEXTS), 2)
        check_ranking(self.rerank(QUERY, TEXTS, 99), len(TEXTS), 99)

    def test_no_documents_no_results(self):
        assert self.rerank(QUERY, []) == []

    def test_a_score_belongs_to_its_text_not_to_its_place(self):
        forwards = {result.index: result.score for result in self.rerank(QUERY, TEXTS)}
        backwards = {len(TEXTS) - 1 - result.index: result.score for result in self.rerank(QUERY, TEXTS[::-1])}
        assert all(math.isclose(forwards[i], backwards[i], abs_tol=1e-2) for i in forwards)
        assert math.isclose(forwards[3], forwards[4], abs_tol=1e-2), "equal texts have equal scores"

    def test_scores_of_a_slice_are_those_of_the_whole(self):
        """The host splits the documents by the capabilities and compares the scores of the parts."""
        whole = {result.index: result.score for result in self.rerank(QUERY, TEXTS)}
        part = {result.index: result.score for result in self.rerank(QUERY, TEXTS[:3])}
        assert all(math.isclose(part[i], whole[i], abs_tol=1e-2) for i in part)

    def test_a_batch_is_each_query_alone(self):
        async def life() -> list[list[RerankResult]]:
            plugin = self.make_plugin()
            await plugin.initialize()
            try:
                return await plugin.rerank_batch([QUERY, "vectors"], [TEXTS[:4], TEXTS[2:5]])
            finally:
                await plugin.cleanup()

        try:
            batch = asyncio.run(life())
        except PluginError as error:  # it can't work with texts alone, even for a single query
            refused = str(error)
            try:
                self.rerank(QUERY, TEXTS[:4], alone=True)
            except PluginError as again:
                assert str(again) == refused
                return
            raise
        alone = [self.rerank(QUERY, TEXTS[:4], alone=True), self.rerank("vectors", TEXTS[2:5], alone=True)]
        for together, one in zip(batch, alone, strict=True):
            check_ranking(together, len(one))
            scores = {result.index: result.score for result in one}
            assert all(math.isclose(result.score, scores[result.index], abs_tol=1e-2) for result in together)

    def test_odd_queries(self):
        for query in ("", "?!", "the", "lone \udc80", "leases expire " * 400):
            check_ranking(self.rerank(query, TEXTS[:2]), 2)

    def test_capabilities_and_schema(self):
        plugin = type(self.make_plugin())
        able = plugin.get_capabilities()
        assert min(able.max_documents, able.max_query_length, able.max_doc_length) > 0
        assert able.candidates_per_hit > 0 and able.first_documents > 0
        schema = plugin.get_config_schema()
        if schema is not None and schema.get("type") == "object":
            jsonschema.validators.validator_for(schema).check_schema(schema)

    def test_any_texts(self):
        @settings(max_examples=15, deadline=None)
        @given(st.lists(st.text(max_size=60), max_size=6), st.integers(1, 8))
        def permutes(texts: list[str], top_k: int) -> None:
            check_ranking(self.rerank(QUERY, texts, top_k), len(texts), top_k)

        permutes()
