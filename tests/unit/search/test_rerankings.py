"""Pages of one answer are cut from one list, however much a reranker gets done for each of them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from semantik_pipeline.documents import RerankResult
from semantik_pipeline.search import SearchQuery, rerankings, search
from semantik_pipeline.search.blending import Judgement, Ranked, RerankerReport, Reranking
from semantik_pipeline.search.fusion import Candidate
from semantik_pipeline.search.rerankings import Rerankings


@pytest.fixture
def tired(runtime, script_reranker):
    """Fifty passages, and a reranker that gives each search other scores, and fewer each time."""
    for number in range(50):
        runtime.add(f"a lease of {'wine ' * (number % 7)} number {number}")
    calls: list[int] = []

    def script(query, texts):
        calls.append(len(texts))
        draw = random.Random(len(calls))
        return [RerankResult(index, draw.random()) for index in range(len(texts) // len(calls))]

    script_reranker(script, first_documents=50)
    return calls


def names(runtime, offset: int, **asked: Any) -> list[str]:
    asked = {"limit": 10, "interpret": False, "rerank_weight": 0.9, **asked}
    return [hit.document for hit in search(runtime, SearchQuery(text="a lease", offset=offset, **asked)).hits]


def test_pages_are_cut_from_one_list(runtime, tired) -> None:
    pages = [names(runtime, offset) for offset in range(0, 50, 10)]
    assert tired == [50]
    assert len({name for page in pages for name in page}) == 50


def test_a_later_page_of_more_candidates_continues_the_list(runtime, tired) -> None:
    first = names(runtime, 0, candidates=20)
    others = [names(runtime, offset, candidates=20) for offset in (10, 20, 30, 40)]
    assert tired == [20] and len({*first, *(name for page in others for name in page)}) == 50


def test_a_page_tells_how_it_was_reranked(runtime, tired) -> None:
    first, second = (
        search(runtime, SearchQuery(text="a lease", offset=at, limit=10, candidates=50, explain=True, interpret=False))
        for at in (0, 10)
    )
    assert [{**one, "duration_ms": 0} for one in first.rerankers] == [
        {**one, "duration_ms": 0} for one in second.rerankers
    ]
    assert first.reranked and second.reranked and first.warnings == second.warnings
    for hit in (*first.hits, *second.hits):
        assert sum(part["value"] for part in hit.explanation["contributions"]) == pytest.approx(hit.score)


def test_the_first_page_asked_again_is_a_new_list(runtime, tired) -> None:
    names(runtime, 0)
    names(runtime, 0)
    assert len(tired) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"principals": ["anna"]},
        {"principals": []},
        {"rerank_weight": 0.5},
        {"candidates": 49},
        {"filter": {"must_not": [{"key": "document", "match": {"value": "none"}}]}},
        {"text": "lease a"},
    ],
)
def test_another_question_gets_nothing_of_it(runtime, tired, changed: dict[str, Any]) -> None:
    names(runtime, 0)
    asked = {"text": "a lease", "limit": 10, "rerank_weight": 0.9, "interpret": False, **changed}
    search(runtime, SearchQuery(offset=10, **asked))
    assert len(tired) == 2


def test_a_changed_document_gets_nothing_of_it(runtime, tired) -> None:
    names(runtime, 0)
    (point,) = runtime.store.scroll("default-7", limit=1)[0]
    runtime.store.set_payload("default-7", [point.id], {"epoch": 2})
    names(runtime, 10)
    assert len(tired) == 2


def test_it_is_kept_for_a_minute(runtime, tired, monkeypatch: pytest.MonkeyPatch) -> None:
    names(runtime, 0)
    monkeypatch.setattr(rerankings, "SECONDS", -1.0)
    names(runtime, 10)  # kept from before
    assert len(tired) == 1
    names(runtime, 20)  # and that was to be kept for no time
    assert len(tired) == 2


def test_memory_is_bounded(runtime, tired, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerankings, "MOST_JUDGED", 300)
    kept = Rerankings.of(runtime)
    for number in range(20):
        search(runtime, SearchQuery(text=f"a lease {number}", limit=10, interpret=False))
    assert kept._judged <= 300
    assert kept._judged == sum(one.weight for one in kept._kept.values()) and kept._kept


def test_what_is_over_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Rerankings()
    outcome = Reranking(
        ranked=[
            Ranked(
                candidate=Candidate(id="a", fused=1.0),
                score=1.0,
                judgements=(Judgement(reranker="words", score=1.0, share=1.0),),
            )
        ],
        reports=[RerankerReport(id="words", scored=1, candidates=1)],
    )
    monkeypatch.setattr(rerankings, "SECONDS", -1.0)
    for key in (b"one", b"two", b"three"):
        kept._keep(key, outcome)
    assert len(kept._kept) <= 1
