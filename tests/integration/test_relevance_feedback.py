"""The default reranker in whole searches: by the vectors in the index, on both stores, over several collections."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from semantik_pipeline import push
from semantik_pipeline.builtin.rerankers.relevance_feedback import FADING
from semantik_pipeline.documents import SearchHit
from semantik_pipeline.push import Given
from semantik_pipeline.search import SearchQuery, search, search_several
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from tests.integration.conftest import FAKE_COLLECTION, Pipeline

WORDS = ("lease", "worker", "queue", "index", "vector", "claim", "epoch", "night")


def documents(seed: int, count: int = 40) -> list[Given]:
    draw = random.Random(seed)
    return [
        Given(unique_id=f"{seed}/{number:02}", content=" ".join(draw.choices(WORDS, k=12)), file_name=f"{number}.txt")
        for number in range(count)
    ]


@pytest.fixture(params=["qdrant-edge", "qdrant"])
def searched(request: pytest.FixtureRequest, make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    """A pipeline with two collections in the embedded store, or in a server's double."""
    double = QdrantDouble().start() if request.param == "qdrant" else None
    pipeline = make_pipeline(**({"qdrant": {"url": double.url}} if double else {}))
    for seed, name in enumerate(("one", "two")):
        pipeline.runtime.collection(name, FAKE_COLLECTION)
        push.push(pipeline.runtime, documents(seed), collection=name)
    pipeline.run()
    yield pipeline
    if double:
        double.stop()


def resembling(pipeline: Pipeline, collection: str, best: Sequence[SearchHit]) -> dict[str, float]:
    """How much each document of one chunk resembles these two, by the formula."""
    index = pipeline.runtime.ledger.search_view(collection).index
    page, _ = pipeline.runtime.store.scroll(index, with_vectors=True)
    vectors = {point.payload["document"]: point.vector / np.linalg.norm(point.vector) for point in page}
    towards = vectors[best[0].document] + FADING * vectors[best[1].document]
    towards /= np.linalg.norm(towards)
    return {name: max(0.0, float(vector @ towards)) for name, vector in vectors.items()}


def test_it_ranks_by_resemblance_to_the_two_best(searched: Pipeline) -> None:
    runtime = searched.runtime
    plain = search(runtime, SearchQuery(text="lease worker", collection="one", rerank=False, limit=30)).hits
    answer = search(runtime, SearchQuery(text="lease worker", collection="one", candidates=30, limit=30))
    assert answer.warnings == []
    assert [(one["id"], one["scored"], one["candidates"]) for one in answer.rerankers] == [
        ("relevance-feedback", 30, 30)
    ]
    alike = resembling(searched, "one", plain[:2])
    low, high = (edge(alike[hit.document] for hit in plain) for edge in (min, max))
    expected = {
        hit.document: 0.7 * hit.scores["fused"] + 0.3 * (alike[hit.document] - low) / (high - low) for hit in plain
    }
    assert {hit.document: hit.score for hit in answer.hits} == pytest.approx(expected, abs=1e-5)


def test_collections_that_are_asked_together_have_one_feedback(searched: Pipeline) -> None:
    asked = SearchQuery(text="lease worker", limit=10, candidates=30)
    several = search_several(searched.runtime, asked, ["one", "two"])
    assert several.together == [["one", "two"]]
    reports = [report for answer in several.answers.values() for report in answer.rerankers]
    assert sum(report["scored"] for report in reports) == sum(report["candidates"] for report in reports) == 30
    own = search(searched.runtime, SearchQuery(text="lease worker", collection="two", limit=10, candidates=30))
    alone = {hit.document: hit.scores["rerank"] for hit in own.hits}
    together = {hit.document: hit.scores["rerank"] for hit in several.answers["two"].hits}
    both = [name for name in alone if together.get(name) is not None and alone[name] is not None]
    assert both and any(alone[name] != pytest.approx(together[name]) for name in both), "the best two of all are others"
    assert not any(answer.warnings for answer in several.answers.values())


def test_a_search_without_an_embedder_is_reranked_too(searched: Pipeline) -> None:
    """A process that can't embed asks by words, and the vectors of what it finds lie in the index."""
    found = search(searched.runtime, SearchQuery(text="lease worker", collection="two", mode="sparse"))
    assert found.reranked and not found.warnings
    assert found.rerankers[0]["scored"] == found.rerankers[0]["candidates"] > 2


ASKED = SearchQuery(text="lease worker", collection="one")


def test_its_share_is_explained_and_the_parts_add_up(searched: Pipeline) -> None:
    answer = search(searched.runtime, replace(ASKED, explain=True, explain_document="0/39", limit=5))
    for hit in answer.hits:
        assert hit.explanation is not None
        assert sum(part["value"] for part in hit.explanation["contributions"]) == pytest.approx(hit.score)
        [said] = hit.explanation["rerankers"]
        assert (said["plugin"], said["score"]) == ("relevance-feedback", hit.scores["rerank"])
    told = answer.document_explanation
    assert (told is None) == ("0/39" in [hit.document for hit in answer.hits])


def test_pages_are_cut_from_one_list(searched: Pipeline) -> None:
    whole = search(searched.runtime, replace(ASKED, limit=20, reranked_for=10)).hits
    pages = [
        search(searched.runtime, replace(ASKED, limit=10, offset=offset, reranked_for=10)).hits for offset in (0, 10)
    ]
    assert [hit.document for page in pages for hit in page] == [hit.document for hit in whole]


def test_in_a_chain_the_feedback_is_what_the_one_before_found_best(searched: Pipeline) -> None:
    asked = replace(ASKED, candidates=30, limit=30, rerank_weight=0.9)
    first = search(searched.runtime, replace(asked, reranker="fake-reranker")).hits
    both = search(searched.runtime, replace(asked, reranker=["fake-reranker", "relevance-feedback"]))
    assert [one["scored"] for one in both.rerankers] == [30, 20] and not both.warnings
    alike = resembling(searched, "one", first[:2])
    compared = {hit.document for hit in first[:20]}
    found = {hit.document: hit.scores["rerank"] for hit in both.hits if hit.document in compared}
    assert found == pytest.approx({name: alike[name] for name in compared}, abs=1e-5)
