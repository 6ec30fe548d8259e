"""Every reranker keeps the contract that authors are given."""

from __future__ import annotations

import pytest

from semantik_pipeline.builtin.rerankers.cross_encoder import CrossEncoderReranker
from semantik_pipeline.builtin.rerankers.http_reranker import HttpReranker
from semantik_pipeline.builtin.rerankers.late_interaction import LateInteractionReranker
from semantik_pipeline.builtin.rerankers.relevance_feedback import RelevanceFeedbackReranker
from semantik_pipeline.testing.fake_models import FakeReranker
from semantik_pipeline.testing.rerank_server import rerank_server
from semantik_pipeline.testing.rerankers import RerankerContract
from semantik_pipeline.testing.tiny_models import write_tiny_colbert, write_tiny_cross_encoder, write_tiny_embedder
from tests.tiny_rerankers import write_tiny_bge, write_tiny_qwen3


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """One plugin of each kind for all tests: loading is not what is tested here."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "late": LateInteractionReranker({"model": str(write_tiny_embedder(folder / "embedder"))}),
        "colbert": LateInteractionReranker({"model": str(write_tiny_colbert(folder / "colbert"))}),
        "cross": CrossEncoderReranker({"model": str(write_tiny_cross_encoder(folder / "cross"))}),
        "bge": CrossEncoderReranker({"model": str(write_tiny_bge(folder / "bge")), "precision": "float32"}),
        "qwen3": CrossEncoderReranker({"model": str(write_tiny_qwen3(folder / "qwen3")), "precision": "float32"}),
    }


class TestFake(RerankerContract):
    def make_plugin(self):
        return FakeReranker()


class _Shared(RerankerContract):
    which = ""

    @pytest.fixture(autouse=True)
    def _plugin(self, loaded):
        type(self).plugin = loaded[self.which]

    def make_plugin(self):
        return self.plugin


class TestLateInteraction(_Shared):
    which = "late"


class TestRelevanceFeedback(RerankerContract):
    def make_plugin(self):
        return RelevanceFeedbackReranker()


class TestColBert(_Shared):
    which = "colbert"


class TestCrossEncoder(_Shared):
    which = "cross"


class TestBge(_Shared):
    which = "bge"


class TestQwen3(_Shared):
    which = "qwen3"


class TestHttp(RerankerContract):
    @pytest.fixture(autouse=True)
    def _server(self):
        with rerank_server() as (url, _):
            type(self).url = url
            yield

    def make_plugin(self):
        return HttpReranker({"base_url": self.url, "model": "words"})
