"""Facets where a query matches more chunks than its legs are read: what is counted, and that it is said."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from semantik_pipeline import push
from semantik_pipeline.push import Given
from semantik_pipeline.search import SearchAnswer, SearchQuery, search
from semantik_pipeline.search.retrieval import LEG_DEPTH
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from tests.integration.conftest import FAKE_COLLECTION, Pipeline

DOCUMENTS = LEG_DEPTH + 60

WARNING = f"facets count the documents of the best {LEG_DEPTH} chunks of each leg; there may be more"


def corpus() -> dict[str, Given]:
    """A chunk each, of which all have a word of the query, and no two the same words: legs rank them differently."""
    draw = random.Random(3)
    made = {}
    for number in range(DOCUMENTS):
        asked = ["lease"] * draw.randint(1, 4) + ["expiry"] * draw.randint(0, 3)
        words = asked + [f"w{draw.randint(0, 400)}" for _ in range(draw.randint(3, 25))]
        draw.shuffle(words)
        metadata = {"team": draw.choice(("it", "hr", "legal")), "number": number}
        made[f"doc/{number}"] = Given(unique_id=f"doc/{number}", content=" ".join(words), metadata=metadata)
    return made


@pytest.fixture(params=["qdrant-edge", "qdrant"])
def searched(request: pytest.FixtureRequest, make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    double = QdrantDouble().start() if request.param == "qdrant" else None
    pipeline = make_pipeline(**({"qdrant": {"url": double.url}} if double else {}))
    pipeline.runtime.collection("default", FAKE_COLLECTION)
    push.push(pipeline.runtime, list(corpus().values()), collection="default")
    pipeline.run()
    yield pipeline
    if double:
        double.stop()


def test_hybrid_facets_count_the_best_chunks_of_each_leg_and_say_so(searched: Pipeline) -> None:
    given = corpus()

    def ask(text: str, **options: Any) -> SearchAnswer:
        plain = {"rerank": False, "interpret": False, "postprocessors": ()}
        return search(searched.runtime, SearchQuery(text=text, **{**plain, **options}))

    def best(mode: str) -> set[str]:
        """The documents of a leg's first LEG_DEPTH chunks."""
        hits = ask("lease expiry", mode=mode, limit=LEG_DEPTH).hits
        assert len(hits) == LEG_DEPTH
        return {hit.document for hit in hits}

    def counted(documents: Any) -> list[dict[str, Any]]:
        found = Counter(given[name].metadata["team"] for name in documents)
        return [
            {"value": team, "count": count} for team, count in sorted(found.items(), key=lambda one: (-one[1], one[0]))
        ]

    matched = best("dense") | best("sparse")
    assert LEG_DEPTH < len(matched) < DOCUMENTS, "the legs differ, and do not have everything together"
    for page in ({"limit": 1}, {"limit": 20, "offset": 40}, {"limit": 50, "offset": 190}):
        answer = ask("lease expiry", facets=("metadata.team", "metadata.number"), facet_limit=1000, **page)
        assert answer.facets["metadata.team"] == counted(matched), page
        numbers = {one["value"] for one in answer.facets["metadata.number"]}
        assert numbers == {given[name].metadata["number"] for name in matched}
        assert answer.warnings == [WARNING]
    dense = ask("lease expiry", mode="dense", facets=("metadata.team",))
    assert (dense.facets["metadata.team"], dense.warnings) == (counted(best("dense")), [WARNING])
    by_words = ask("lease expiry", mode="sparse", facets=("metadata.team",))
    by_filter = ask("after:2000-01-01", interpret=True, facets=("metadata.team",))
    for answer in (by_words, by_filter):
        assert (answer.facets["metadata.team"], answer.warnings) == (counted(given), [])
    some = {"must": [{"key": "metadata.team", "match": {"value": "it"}}]}
    narrow = ask("lease expiry", facets=("metadata.team",), filter=some)
    fewer = [name for name, one in given.items() if one.metadata["team"] == "it"]
    assert len(fewer) < LEG_DEPTH
    assert (narrow.facets["metadata.team"], narrow.warnings) == (counted(fewer), []), (
        "a narrower query has all its counts"
    )
