"""The reranker `late-interaction` works with the collection's own model: one set of weights in the process."""

from __future__ import annotations

import pytest

from semantik_pipeline.plugins.host import PluginHost
from semantik_pipeline.search.rerank_options import reranker_options
from semantik_pipeline.testing.tiny_models import write_tiny_embedder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(write_tiny_embedder(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def host(tmp_path):
    host = PluginHost.start(tmp_path / "plugins.json", kinds=["embedding", "reranker"])
    yield host
    host.close()


def test_late_interaction_reads_with_the_collections_own_model(host, tiny):
    embedding = {"plugin": "dense-local", "options": host.frozen_config("dense-local", {"model": tiny})}
    embedder = host.instance("dense-local", embedding["options"], frozen=True, kind="embedding")
    options = reranker_options(host, "late-interaction", {}, embedding)
    reranker = host.instance("late-interaction", options, kind="reranker")
    assert reranker.loaded().model is embedder._model


def test_an_embedder_of_another_kind_leaves_it_its_own_model(host):
    embedding = {"plugin": "openai-compatible", "options": {"model": "text-embedding-3-small"}}
    assert reranker_options(host, "late-interaction", {}, embedding) == {}


def test_a_reranker_with_weights_of_its_own_takes_nothing_over(host, tiny):
    embedding = {"plugin": "dense-local", "options": {"model": tiny}}
    assert reranker_options(host, "cross-encoder", {}, embedding) == {}
