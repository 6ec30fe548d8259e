"""The part of the contract of vector stores about searching. :class:`VectorDBContract` includes it."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from semantik_pipeline.documents import SearchRequest, SparseVector
from semantik_pipeline.errors import UsageError
from semantik_pipeline.testing.store_points import DIMENSION, SPEC, make_point, point_id


class SearchingContract:
    """Tests of searches. The inheriting class must have the fixtures ``store`` and ``index``."""

    def test_the_nearest_vectors_come_first(self, store: Any, index: str) -> None:
        points = [make_point(n) for n in range(40)]
        store.insert(index, points)
        query = np.random.default_rng(99).normal(size=DIMENSION).astype(np.float32)
        cosines = {p.id: float(p.vector @ query / np.linalg.norm(p.vector) / np.linalg.norm(query)) for p in points}
        (hits,) = store.search(index, [SearchRequest(vector=query, limit=7)])
        best = sorted(cosines, key=cosines.__getitem__, reverse=True)[:7]
        assert [hit.id for hit in hits] == best
        assert [hit.score for hit in hits] == pytest.approx([cosines[i] for i in best], abs=1e-4)

    def test_two_legs_in_one_call(self, store: Any, index: str) -> None:
        if "sparse" not in store.capabilities:
            pytest.skip("the store has no BM25 leg")
        store.insert(index, [make_point(n) for n in range(40)])
        dense, sparse = store.search(
            index, [SearchRequest(vector=make_point(3).vector, limit=5), SearchRequest(text="number17", limit=5)]
        )
        assert dense[0].id == point_id(3)
        assert [hit.id for hit in sparse] == [point_id(17)]
        assert sparse[0].payload["text"].endswith("number17")

    def test_rare_words_weigh_more(self, store: Any, index: str) -> None:
        if "sparse" not in store.capabilities:
            pytest.skip("the store has no BM25 leg")
        store.insert(index, [make_point(n, text="boundary layer flow") for n in range(20)])
        store.insert(index, [make_point(20, text="boundary zeppelin flow")])
        (hits,) = store.search(index, [SearchRequest(text="boundary layer zeppelin", limit=3)])
        assert hits[0].id == point_id(20)
        assert all(one.score >= other.score for one, other in itertools.pairwise(hits))

    def test_a_query_without_words_finds_nothing(self, store: Any, index: str) -> None:
        if "sparse" not in store.capabilities:
            pytest.skip("the store has no BM25 leg")
        store.insert(index, [make_point(1), make_point(2, text="   ")])
        for text in ("", " \n", "?!", "\ud800"):
            assert store.search(index, [SearchRequest(text=text)]) == [[]]

    def test_words_and_phrases_are_met_whole_where_no_index_of_words_is(self, store: Any, index: str) -> None:
        texts = ["The notice period ends", "a period of notice", "noticeperiods", "Notice-Period", "notices, periods"]
        store.insert(index, [make_point(n, text=text) for n, text in enumerate(texts)])
        for match, expected in (
            ({"phrase": "notice period"}, [0, 3]),
            ({"text": "PERIOD notice"}, [0, 1, 3]),
            ({"text_any": "periods ends"}, [0, 4]),
        ):
            only = {"must": [{"key": "text", "match": match}]}
            found, _ = store.scroll(index, filter=only)
            assert {point.id for point in found} == {point_id(n) for n in expected}, match
            assert store.count(index, {"must_not": [only]}) == len(texts) - len(expected)

    def test_filters_apply_inside_both_legs(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(n, document_id=n % 10, text="same words") for n in range(50)])
        only = {"must": [{"key": "document_id", "match": {"any": [3, 4]}}]}
        legs = [SearchRequest(vector=make_point(0).vector, filter=only, limit=30)]
        if "sparse" in store.capabilities:
            legs.append(SearchRequest(text="words", filter=only, limit=30))
        for hits in store.search(index, legs):
            assert len(hits) == 10
            assert {hit.payload["document_id"] for hit in hits} == {3, 4}

    def test_payload_can_be_left_out(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(1)])
        ((hit,),) = store.search(index, [SearchRequest(vector=make_point(1).vector, with_payload=False)])
        assert hit.payload == {}

    def test_a_leg_is_a_vector_or_a_text(self, store: Any, index: str) -> None:
        with pytest.raises(UsageError):
            store.search(index, [SearchRequest()])
        with pytest.raises(UsageError):
            store.search(index, [SearchRequest(vector=make_point(1).vector, text="both")])

    def test_sparse_vectors_of_a_model_are_compared_as_they_are(self, store: Any) -> None:
        if "sparse_vectors" not in store.capabilities:
            pytest.skip("the store takes no sparse vectors")
        name = f"index-{uuid.uuid4().hex[:8]}"
        store.create_index(name, replace(SPEC, bm25=None, sparse_vectors=True))
        given = {1: {7: 1.0, 30_521: 2.0}, 2: {7: 1.5}, 3: {}, 4: {99: 3.0}}
        store.insert(name, [replace(make_point(n), sparse=sparse_vector(terms)) for n, terms in given.items()])
        (hits,) = store.search(name, [SearchRequest(sparse=sparse_vector({30_521: 1.0, 7: 2.0, 5: 9.0}))])
        assert [(hit.id, pytest.approx(hit.score, abs=1e-3)) for hit in hits] == [
            (point_id(1), 4.0),
            (point_id(2), 3.0),
        ]
        only = {"must": [{"has_id": [point_id(2), point_id(4)]}]}
        (hits,) = store.search(name, [SearchRequest(sparse=sparse_vector({7: 1.0}), filter=only)])
        assert [(hit.id, pytest.approx(hit.score, abs=1e-3)) for hit in hits] == [(point_id(2), 1.5)]
        assert store.search(name, [SearchRequest(sparse=sparse_vector({}))]) == [[]]
        with pytest.raises(UsageError):
            store.search(name, [SearchRequest(text="wing")])
        store.drop_index(name)

    def test_an_empty_index_answers(self, store: Any, index: str) -> None:
        assert store.search(index, [SearchRequest(vector=make_point(1).vector)]) == [[]]
        assert store.scroll(index) == ([], None)

    # -- optional capabilities ---------------------------------------------------------------------------------------

    def test_facets_count_points(self, store: Any, index: str) -> None:
        if "facet" not in store.capabilities:
            pytest.skip("the store has no facets")
        store.insert(
            index, [make_point(n, language="en" if n % 3 else "de", tags=["x", "y"][: n % 3]) for n in range(9)]
        )
        assert store.facet(index, "language") == [("en", 6), ("de", 3)]
        assert store.facet(index, "tags", limit=1) == [("x", 6)]
        assert store.facet(index, "language", {"must": [{"key": "tags", "match": {"value": "y"}}]}) == [("en", 3)]


def sparse_vector(terms: dict[int, float]) -> SparseVector:
    return SparseVector(list(terms), list(terms.values()))
