"""The sparse encoder on a tiny model, and its vectors as the ledger keeps them."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantik_pipeline.builtin.embedders.learned_sparse import LearnedSparseEncoder
from semantik_pipeline.builtin.embedders.loaded_sparse import weights_of
from semantik_pipeline.contracts import EmbeddingMode
from semantik_pipeline.documents import SparseVector
from semantik_pipeline.errors import PermanentError, PluginConfigError, PluginError
from semantik_pipeline.stages.vectors import checked_sparse, packed, unpacked
from semantik_pipeline.testing.tiny_models import write_tiny_sparse_encoder

TEXTS = ["leases expire", "how do leases expire in the pipeline", "", "search the vector index of the document"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sparse_encoder(tmp_path_factory.mktemp("sparse") / "tiny")


@pytest.fixture(scope="module")
def encoder(tiny: Path) -> LearnedSparseEncoder:
    return LearnedSparseEncoder({"model": str(tiny), "device": "cpu", "precision": "float32"})


def encoded(encoder: LearnedSparseEncoder, texts: list[str], **more) -> list[SparseVector]:
    return asyncio.run(encoder.embed_sparse(texts, **more))


def weights(vector: SparseVector) -> dict[int, float]:
    return dict(zip(vector.indices, vector.values, strict=True))


def test_it_gives_what_sentence_transformers_gives(encoder: LearnedSparseEncoder, tiny: Path) -> None:
    from sentence_transformers import SparseEncoder

    theirs = SparseEncoder(str(tiny), device="cpu").encode_document(TEXTS, convert_to_sparse_tensor=False).numpy()
    for ours, row in zip(encoded(encoder, TEXTS), theirs, strict=True):
        assert weights(ours) == {int(term): pytest.approx(row[term], abs=1e-4) for term in np.flatnonzero(row > 0)}
        assert ours.indices == sorted(ours.indices)


def test_no_company_changes_a_text(encoder: LearnedSparseEncoder) -> None:
    together = encoded(encoder, TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        assert weights(encoded(encoder, [text])[0]) == pytest.approx(weights(vector), abs=1e-4)
    assert encoded(encoder, []) == []
    assert encoder.get_model_info()["device"] == "cpu"


def test_a_long_text_has_the_greatest_weight_of_its_windows(encoder: LearnedSparseEncoder) -> None:
    text = "the queue and the worker " * 9 + "leases expire in the index " * 9
    windows = [window.text for window in encoder.loaded()._tokenizer.windows([text], limit=48)]
    assert len(windows) > 1
    greatest: dict[int, float] = {}
    for part in encoded(encoder, windows):
        for term, weight in weights(part).items():
            greatest[term] = max(weight, greatest.get(term, 0.0))
    assert weights(encoded(encoder, [text])[0]) == pytest.approx(greatest, abs=1e-4)


def test_only_the_weightiest_terms_are_kept(encoder: LearnedSparseEncoder, tiny: Path) -> None:
    few = LearnedSparseEncoder({"model": str(tiny), "max_terms": 5, "device": "cpu", "precision": "float32"})
    for all_of_them, kept in zip(encoded(encoder, TEXTS), encoded(few, TEXTS), strict=True):
        best = sorted(all_of_them.values, reverse=True)[:5]
        assert sorted(kept.values, reverse=True) == pytest.approx(best, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(-2, 4), min_size=6, max_size=6), max_size=5), st.none() | st.integers(1, 7))
def test_weights_are_read_at_once_and_no_more_of_them_than_can_count(rows: list[list[int]], most: int | None) -> None:
    import torch

    found = weights_of(torch.tensor(rows, dtype=torch.float16).reshape(len(rows), 6), most)
    assert len(found) == len(rows)
    for row, weights in zip(rows, found, strict=True):
        least = sorted(row, reverse=True)[most - 1] if most and most < 6 else 0
        assert weights == {term: float(weight) for term, weight in enumerate(row) if weight > 0 and weight >= least}


def test_few_weights_leave_the_device(tiny: Path) -> None:
    few = LearnedSparseEncoder({"model": str(tiny), "max_terms": 5, "device": "cpu", "precision": "float32"}).loaded()
    assert max(map(len, few._forward(TEXTS, False))) == 5


def test_queries_are_asked_in_their_own_mode(encoder: LearnedSparseEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a model whose queries have a prompt."""
    model = encoder.loaded()._model
    monkeypatch.setattr(model, "encode_query", partial(model.encode_query, prompt="search the index: "))
    (query,) = encoded(encoder, ["leases"], mode=EmbeddingMode.QUERY)
    (document,) = encoded(encoder, ["leases"])
    assert query.indices and weights(query) != pytest.approx(weights(document), abs=1e-4)


def test_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PluginConfigError, match=r"sparse\.model"):
        encoded(LearnedSparseEncoder(), ["x"])
    with pytest.raises(PluginError, match="nowhere"):
        encoded(LearnedSparseEncoder({"model": str(tmp_path / "nowhere")}), ["x"])
    with pytest.raises(PluginConfigError, match="no dense ones"):
        asyncio.run(LearnedSparseEncoder().embed_texts(["x"]))


terms = st.dictionaries(st.integers(0, 2**31), st.floats(0, 60_000, width=16), max_size=40)
dense = st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=20)


@given(dense, terms)
def test_a_row_gives_back_both_vectors(values: list[float], given_terms: dict[int, float]) -> None:
    vector = SparseVector(list(given_terms), list(given_terms.values()))
    row = np.array(values, dtype="<f4").tobytes() + packed(vector)
    found, sparse = unpacked(row, len(values))
    assert found.tolist() == values
    assert sparse == vector


@given(dense)
def test_a_row_of_a_dense_vector_alone_has_no_terms(values: list[float]) -> None:
    assert unpacked(np.array(values, dtype="<f4").tobytes(), len(values))[1] == SparseVector([], [])


@pytest.mark.parametrize(
    "wrong", [[], [SparseVector([1, 1], [1.0, 1.0])], [SparseVector([1], [float("nan")])], [SparseVector([1], [1e9])]]
)
def test_what_no_row_can_keep_is_refused(wrong: list[SparseVector]) -> None:
    with pytest.raises(PermanentError):
        checked_sparse(wrong, 1)
