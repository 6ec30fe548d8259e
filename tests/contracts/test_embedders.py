"""Every embedder keeps the contract that authors are given."""

from __future__ import annotations

import asyncio

import pytest

from semantik_pipeline.builtin.embedders.dense_local import DenseLocalEmbedder
from semantik_pipeline.builtin.embedders.openai_compatible import OpenAICompatibleEmbedder
from semantik_pipeline.testing.embedders import EmbeddingContract
from semantik_pipeline.testing.embeddings_server import embeddings_server
from semantik_pipeline.testing.fake_models import FakeEmbedder
from semantik_pipeline.testing.tiny_models import write_tiny_embedder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_embedder(tmp_path_factory.mktemp("models") / "tiny", prompts={"query": "search: "})


@pytest.fixture(scope="module")
def general(tmp_path_factory):
    folder = write_tiny_embedder(tmp_path_factory.mktemp("models") / "general")
    config = (folder / "config.json").read_text("utf-8").replace('"gelu"', '"relu"')
    (folder / "config.json").write_text(config, "utf-8")
    return folder


@pytest.fixture(scope="module")
def packaged():
    holder = DenseLocalEmbedder()
    asyncio.run(holder.initialize())
    return holder


@pytest.fixture(scope="module")
def server():
    with embeddings_server() as (url, _):
        yield url


class TestFake(EmbeddingContract):
    def make_plugin(self):
        return FakeEmbedder()


class TestLightBert(EmbeddingContract):
    @pytest.fixture(autouse=True)
    def _model(self, tiny):
        self.path = str(tiny)

    def make_plugin(self):
        return DenseLocalEmbedder({"model": self.path})


class TestSentenceTransformers(EmbeddingContract):
    """The same weights through sentence-transformers, chosen by an activation that the light forward has not."""

    @pytest.fixture(autouse=True)
    def _model(self, general):
        self.path = str(general)

    def make_plugin(self):
        return DenseLocalEmbedder({"model": self.path})


@pytest.mark.usefixtures("packaged_model")
class TestPackagedMiniLM(EmbeddingContract):
    @pytest.fixture(autouse=True)
    def _weights(self, packaged):
        """Held in memory for all tests, as plugins of one process share them."""

    def make_plugin(self):
        return DenseLocalEmbedder()


class TestOpenAICompatible(EmbeddingContract):
    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.url = server

    def make_plugin(self):
        return OpenAICompatibleEmbedder({"base_url": self.url, "model": "hashed", "max_input_tokens": 100})
