"""The requirements for every embedder, as a test class for authors.

Subclass :class:`EmbeddingContract` in your tests and give it your plugin::

    class TestMine(EmbeddingContract):
        def make_plugin(self):
            return MyEmbedder({"model": "..."})
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import jsonschema
import numpy as np

from semantik_pipeline.contracts import EmbeddingMode, EmbeddingPlugin
from semantik_pipeline.errors import PipelineError

TEXTS = [
    "the pipeline",
    "how do leases expire",
    "a document is split into chunks, and every chunk gets a vector of its own",
    "search",
    "worker queue",
]
ODD_TEXTS = [
    "",
    "  \n\t ",
    "\x00 null",
    "\U0001f469\u200d\U0001f680",
    "lone \udc80 surrogate",
    "第一句话。",
    "e\u0301" * 9,
]


class EmbeddingContract:
    """Each test makes its own plugin, so that no test depends on another."""

    def make_plugin(self) -> EmbeddingPlugin:
        raise NotImplementedError

    def use(self, work: Callable[[EmbeddingPlugin], Any]) -> Any:
        """Run ``work``, sync or async, with an initialized plugin, then clean the plugin up."""

        async def life() -> Any:
            plugin = self.make_plugin()
            await plugin.initialize()
            try:
                found = work(plugin)
                return await found if inspect.isawaitable(found) else found
            finally:
                await plugin.cleanup()

        return asyncio.run(life())

    def embed(self, texts: list[str], mode: EmbeddingMode = EmbeddingMode.DOCUMENT) -> np.ndarray:
        return np.asarray(self.use(lambda plugin: plugin.embed_texts(texts, mode=mode)), dtype=np.float32)

    def test_one_finite_vector_for_each_text_of_the_stated_dimension(self):
        async def work(plugin):
            return await plugin.embed_texts(TEXTS), await plugin.get_dimension()

        vectors, dimension = self.use(work)
        vectors = np.asarray(vectors, dtype=np.float32)
        assert vectors.shape == (len(TEXTS), dimension)
        assert np.isfinite(vectors).all()
        assert (np.linalg.norm(vectors, axis=1) > 0).all()

    def test_vectors_are_in_the_order_of_the_texts(self):
        together = self.embed(TEXTS)
        backwards = self.embed(TEXTS[::-1])[::-1]
        alone = np.concatenate([self.embed([text]) for text in TEXTS])
        assert _cosines(together, backwards).min() > 0.999
        assert _cosines(together, alone).min() > 0.999
        # make sure that a wrong order would be detected:
        assert _cosines(together, np.roll(together, 1, axis=0)).min() < 0.999

    def test_no_texts_no_vectors(self):
        assert len(self.embed([])) == 0

    def test_a_single_text_is_embedded_as_in_a_list(self):
        single = self.use(lambda plugin: plugin.embed_single(TEXTS[1]))
        listed = self.embed([TEXTS[1]], EmbeddingMode.QUERY)
        assert _cosines(np.asarray([single]), listed).min() > 0.999

    def test_odd_texts_harm_nothing(self):
        vectors = self.embed([*ODD_TEXTS, TEXTS[0]])
        assert np.isfinite(vectors).all()
        assert _cosines(vectors[-1:], self.embed([TEXTS[0]])).min() > 0.999

    def test_tokens_are_counted_before_anything_is_loaded(self):
        plugin = self.make_plugin()
        counts = plugin.count_tokens([*TEXTS, *ODD_TEXTS, TEXTS[2] * 3])
        assert len(counts) == len(TEXTS) + len(ODD_TEXTS) + 1
        assert all(isinstance(count, int) and count >= 0 for count in counts)
        assert counts[-1] > counts[2] > 0
        limit = plugin.max_input_tokens()
        assert limit is None or limit > 0

    def test_revisions_are_stable_and_known_before_anything_is_loaded(self):
        one, other = self.make_plugin(), self.make_plugin()
        assert one.tokenizer_revision() == other.tokenizer_revision()
        assert one.output_revision() == other.output_revision()

    def test_nothing_of_a_too_long_text_is_cut_off_in_silence(self):
        """The end of the text affects the vector, or the plugin refuses the text."""
        plugin = self.make_plugin()
        limit = plugin.max_input_tokens()
        if limit is None or limit > 5000:
            return
        long = "the pipeline " * (limit + 1)
        try:
            vectors = self.embed([long + "search the index " * limit, long + "leases expire " * limit])
        except PipelineError:
            return
        assert _cosines(vectors[:1], vectors[1:]).max() < 0.9999

    def test_the_schema_is_a_json_schema(self):
        schema = type(self.make_plugin()).get_config_schema()
        if schema is not None and schema.get("type") == "object":
            jsonschema.validators.validator_for(schema).check_schema(schema)

    def test_its_definition_names_the_provider(self):
        definition = type(self.make_plugin()).get_definition()
        assert definition.api_id == type(self.make_plugin()).PLUGIN_ID
        assert definition.display_name
        assert definition.provider_type in ("local", "remote", "hybrid")

    def test_model_info_is_known(self):
        async def work(plugin):
            return plugin.get_model_info()

        assert self.use(work)["model"]


def _cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    one, other = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    return (one * other).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))
