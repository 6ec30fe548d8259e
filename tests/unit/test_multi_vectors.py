"""``late-interaction`` with models that were trained for it."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from semantik_pipeline.builtin.rerankers.late_interaction import LateInteractionReranker
from semantik_pipeline.builtin.rerankers.multi_vectors import MultiVectorScoring, is_multi_vector
from semantik_pipeline.testing.rerankers import QUERY, TEXTS, check_ranking
from semantik_pipeline.testing.tiny_models import write_tiny_colbert, write_tiny_cross_encoder, write_tiny_embedder

ASKED = ["the pipeline", "leases expire", "how do leases expire in a queue", "index"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_colbert(tmp_path_factory.mktemp("models") / "colbert")


@pytest.fixture(scope="module")
def plugin(folder):
    return LateInteractionReranker({"model": str(folder), "precision": "float32", "device": "cpu"})


def scores(plugin, query, texts, **optional):
    results = asyncio.run(plugin.rerank(query, texts, **optional))
    found = {result.index: result.score for result in results}
    return [found[index] for index in range(len(texts))]


def test_a_colbert_is_told_from_an_embedding_model(folder, tmp_path):
    assert is_multi_vector(folder)
    assert not is_multi_vector(write_tiny_embedder(tmp_path / "embedder"))
    assert not is_multi_vector(write_tiny_cross_encoder(tmp_path / "cross"))


def test_it_is_read_by_its_own_way(plugin):
    check_ranking(asyncio.run(plugin.rerank(QUERY, TEXTS)), len(TEXTS))
    assert isinstance(plugin.loaded(), MultiVectorScoring)


def test_scores_are_the_models_own_maxsim_over_its_query_vectors(plugin, folder):
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device="cpu")
    asked, read = model.encode_query(["leases"]), model.encode_document(ASKED)
    expected = model.similarity(asked, read)[0] / len(asked[0])
    assert len(asked[0]) == 12  # expanded with [MASK], as it was trained
    assert scores(plugin, "leases", ASKED) == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_long_text_is_read_to_its_end(plugin):
    """Each of the query's vectors has the nearest of all windows."""
    loaded = plugin.loaded()
    parts = ["search " * 200, "leases expire"]
    windows = loaded._tokenizer.windows(["".join(parts)], loaded._prompt, loaded._window)
    assert len(windows) > 4
    [whole] = scores(plugin, "leases expire", ["".join(parts)])
    asked = loaded._asked("leases expire")
    nearest = [loaded._nearest(asked, [window])[0] for window in windows]
    assert whole == pytest.approx(np.max(nearest, axis=0).mean(), abs=1e-5)
    assert whole > np.max(nearest[:1], axis=0).mean()


def test_a_slice_and_feedback_change_nothing(plugin):
    whole = scores(plugin, "leases", ASKED)
    vectors = np.eye(2, dtype=np.float32)
    part = scores(plugin, "leases", ASKED[:2], vectors=vectors, feedback_vectors=vectors[:1])
    assert part == pytest.approx(whole[:2], abs=1e-4)
    assert np.isfinite(whole).all()
