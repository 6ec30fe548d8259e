"""Why a document that can be found is not among the hits: the ranks that it had, and what put it behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from semantik_pipeline import push
from semantik_pipeline.push import Given
from semantik_pipeline.search import SearchQuery, search
from tests.integration.conftest import FAKE_COLLECTION, Pipeline

#: Words that a text has beside the first; the more it has, the less the first one weighs.
FILLERS = 40


@pytest.fixture
def pipeline(make_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """Texts about leases, each with one filler more than the one before, and many alike."""
    made = make_pipeline()
    made.runtime.collection("default", FAKE_COLLECTION)
    texts = {f"n{number:02}": f"lease {'filler ' * number}" for number in range(FILLERS)}
    given = [Given(unique_id=name, content=content) for name, content in texts.items()]
    push.push(made.runtime, given, collection="default")
    made.run()
    return made


def absent(pipeline: Pipeline, name: str, **options: Any) -> dict[str, Any]:
    asked = {"text": "lease", "rerank": False, "limit": 3, **PLAIN, **options}
    answer = search(pipeline.runtime, SearchQuery(explain_document=name, **asked))
    assert answer.document_explanation is not None
    told = answer.document_explanation
    if "explanation" in told:
        assert sum(part["value"] for part in told["explanation"]["contributions"]) == pytest.approx(told["score"])
    return told


def order(pipeline: Pipeline, **options: Any) -> list[str]:
    asked = {"text": "lease", "rerank": False, "limit": FILLERS, **PLAIN, **options}
    return [hit.document for hit in search(pipeline.runtime, SearchQuery(**asked)).hits]


#: Fields of a query that leave all hits as they are.
PLAIN: dict[str, Any] = {"postprocessors": ()}


def test_each_rank_has_its_cause(pipeline: Pipeline) -> None:
    names = order(pipeline)
    assert absent(pipeline, names[0])["cause"] == "shown"
    told = absent(pipeline, names[5])
    assert (told["cause"], told["rank"]) == ("limit", 6)
    told = absent(pipeline, names[0], offset=3)
    assert (told["cause"], told["rank"]) == ("offset", 1)
    told = absent(pipeline, names[1], score_threshold=0.999)
    assert told["cause"] == "threshold"
    assert told["score"] < 0.999


def test_what_rerankers_never_read_and_what_they_put_behind(pipeline: Pipeline) -> None:
    asked: dict[str, Any] = {"rerank": True, "reranker": "fake-reranker", "rerank_weight": 1.0, "dense_weight": 1.0}
    told = absent(pipeline, order(pipeline, dense_weight=1.0)[30], **asked)
    assert (told["cause"], told["rank"]) == ("fused", 31)
    assert told["explanation"]["rerankers"] == []
    long = "a lease of a zebra, and of many more words that nobody asks for"
    push.push(pipeline.runtime, [Given(unique_id="both", content=long)], collection="default")
    pipeline.run()
    asked = {**asked, "text": "lease zebra", "limit": 1}
    assert order(pipeline, **{**asked, "rerank": False}) == ["n00"]
    told = absent(pipeline, "n00", **asked)
    assert (told["cause"], told["rank"]) == ("reranked", 2)
    assert told["explanation"]["rerankers"] == [
        {"plugin": "fake-reranker", "score": 0.5, "normalised": 0.0, "weight": 1.0, "rank": 2, "blended": 0.0}
    ]
    assert absent(pipeline, "both", **asked)["cause"] == "shown"


def test_what_a_postprocessor_left_out(pipeline: Pipeline) -> None:
    given = [Given(unique_id=f"twin{number}", content="an otter swims in the river at night") for number in range(2)]
    push.push(pipeline.runtime, given, collection="default")
    pipeline.run()
    first, second = order(pipeline, text="otter swims in the river")[:2]
    told = absent(pipeline, second, text="otter swims in the river", postprocessors=("dedupe",))
    assert (told["cause"], told["plugin"]) == ("postprocessed", "dedupe")
    assert absent(pipeline, first, text="otter swims in the river", postprocessors=("dedupe",))["cause"] == "shown"


def test_what_was_looked_at_because_duplicates_left_too_little(pipeline: Pipeline) -> None:
    twins = [Given(unique_id=f"twin{number:02}", content="a lease of an otter") for number in range(60)]
    push.push(pipeline.runtime, twins, collection="default")
    pipeline.run()
    asked: dict[str, Any] = {"text": "lease of an otter", "postprocessors": ("dedupe",)}
    first = search(pipeline.runtime, SearchQuery(rerank=False, limit=3, **asked)).hits
    assert [hit.document.startswith("twin") for hit in first] == [True, False, False]
    names = order(pipeline, **asked)
    told = absent(pipeline, names[4], **asked)
    assert (told["cause"], told["rank"]) == ("limit", 5)
    told = absent(pipeline, names[1], offset=3, **asked)
    assert (told["cause"], told["rank"]) == ("offset", 2)
    hidden = next(name for name in first[0].duplicates if name != first[0].document)
    told = absent(pipeline, hidden, **asked)
    assert (told["cause"], told["plugin"]) == ("postprocessed", "dedupe")


def test_what_the_query_asks_for_beside_its_words(pipeline: Pipeline) -> None:
    """Phrases are conditions, a path is told as it was asked for, and without a text all hits are alike."""
    told = absent(pipeline, "n03", text='lease "filler lease"')
    assert (told["cause"], "filler lease" in told["message"]) == ("filter", True)
    told = absent(pipeline, "n03", text="lease path:n01")
    assert (told["cause"], told["conditions"]) == ("filter", [{"path": ["n01"]}])
    listed = search(pipeline.runtime, SearchQuery(text="-zebra", limit=3, explain=True, facets=("source",), **PLAIN))
    assert listed.facets["source"][0]["count"] == FILLERS
    for hit in listed.hits:
        assert hit.explanation is not None
        assert sum(part["value"] for part in hit.explanation["contributions"]) == pytest.approx(hit.score)
    behind = next(
        f"n{number:02}" for number in range(FILLERS) if f"n{number:02}" not in {h.document for h in listed.hits}
    )
    assert absent(pipeline, behind, text="-zebra")["cause"] == "limit"
    assert absent(pipeline, listed.hits[0].document, text="-zebra")["cause"] == "shown"


def test_what_lies_too_deep_in_every_leg(pipeline: Pipeline) -> None:
    alike = [Given(unique_id=f"m{number}", content=f"lease lease number {number}") for number in range(210)]
    far = Given(unique_id="far", content="otters swim in the river at night and sleep through the day")
    push.push(pipeline.runtime, [*alike, far], collection="default")
    pipeline.run()
    told = absent(pipeline, "far", text="lease number")
    assert told["cause"] == "legs"
    assert told["legs"]["sparse"] == {"rank": None, "score": None}
    assert told["legs"]["dense"]["rank"] > 200
    assert "none of its chunks has a word of the query" in told["message"]
    assert absent(pipeline, "far", text="otters")["cause"] == "shown"
