"""Every reranker keeps the contract that authors are given."""

from __future__ import annotations

import pytest

from semantik_pipeline.builtin.rerankers.cross_encoder import CrossEncoderReranker
from semantik_pipeline.builtin.rerankers.late_interaction import LateInteractionReranker
from semantik_pipeline.testing.fake_models import FakeReranker
from semantik_pipeline.testing.rerankers import RerankerContract
from semantik_pipeline.testing.tiny_models import write_tiny_cross_encoder, write_tiny_embedder


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """One plugin of each kind for all tests: loading is not what is tested here."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "late": LateInteractionReranker({"model": str(write_tiny_embedder(folder / "embedder"))}),
        "cross": CrossEncoderReranker({"model": str(write_tiny_cross_encoder(folder / "cross"))}),
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


class TestCrossEncoder(_Shared):
    which = "cross"
