"""Explanations: numbers that add up to the score, whatever the legs found and the rerankers answered."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.documents import Leg, ScoredPoint, SearchHit
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.search.blending import RerankerReport, Reranking, blend, unranked
from semantik_pipeline.search.explanation import explained, moved
from semantik_pipeline.search.fusion import fuse
from semantik_pipeline.search.retrieval import Retrieved
from semantik_pipeline.search.why_missing import conditions_of

names = st.sampled_from([f"p{number}" for number in range(12)])
leg_scores = st.dictionaries(names, st.floats(-10, 30, allow_nan=False).map(lambda x: round(x, 3)), max_size=12)
said = st.lists(st.dictionaries(st.integers(0, 11), st.floats(-5, 5, allow_nan=False), max_size=12), max_size=3)


def leg(scores):
    return Leg.of(sorted((ScoredPoint(id=k, score=v) for k, v in scores.items()), key=lambda p: (-p.score, p.id)))


@given(leg_scores, leg_scores, st.floats(0, 1), st.floats(0, 1), st.sampled_from(["minmax", "rrf", "dbsf"]), said)
def test_the_parts_add_up_to_the_score_and_ranks_are_those_of_the_list(
    dense, sparse, dense_weight, weight, method, said
):
    legs = {"dense": leg(dense), "sparse": leg(sparse)}
    candidates = list(fuse(legs, dense_weight=dense_weight, method=method, scored=8))
    plan = SimpleNamespace(fusion=method, dense_weight=dense_weight, rerank_weight=weight)
    ranked, reports, orders = unranked(candidates).ranked, [], []
    for number, scores in enumerate(said):
        scores = {at: score for at, score in scores.items() if at < len(ranked)}
        ranked = blend(ranked, scores, weight, reranker=f"r{number}")
        reports.append(RerankerReport(id=f"r{number}", scored=len(scores), candidates=len(ranked)))
        orders.append([entry.candidate.id for entry in ranked])
    found = explained(
        plan, Retrieved(candidates=candidates, legs=legs, scored=8), Reranking(ranked=ranked, reports=reports)
    )
    assert set(found) == {candidate.id for candidate in candidates}
    for entry in ranked:
        told = found[entry.candidate.id]
        assert math.isclose(math.fsum(part["value"] for part in told["contributions"]), entry.score, abs_tol=1e-9)
        assert math.isclose(told["fused"]["score"], entry.candidate.fused)
        from_legs = sum(one["weight"] * one["normalised"] for one in told["legs"].values())
        assert math.isclose(from_legs, entry.candidate.fused, abs_tol=1e-9)
        for name, scores in (("dense", dense), ("sparse", sparse)):
            known = told["legs"].get(name, {"rank": None, "score": None})
            place = next((at for at, p in enumerate(legs[name], 1) if p.id == entry.candidate.id), None)
            assert (known["rank"], known["score"]) == (place, scores.get(entry.candidate.id))
        effective = [(order, report.id) for order, report in zip(orders, reports, strict=True) if report.scored]
        assert [one["plugin"] for one in told["rerankers"]] == [name for _, name in effective]
        assert [one["rank"] for one in told["rerankers"]] == [
            order.index(entry.candidate.id) + 1 for order, _ in effective
        ]


@pytest.mark.parametrize("fusion", ["minmax", "rrf", "dbsf"])
@pytest.mark.parametrize("mode", ["hybrid", "dense", "sparse"])
def test_a_search_explains_its_hits(runtime, script_reranker, scored_by, fusion, mode):
    for text in ("lease expiry of workers", "lease renewal", "expiry of milk", "zebra", "lease lease"):
        runtime.add(text)
    script_reranker(scored_by(lambda text: text.count("lease") / 3))
    answer = search(runtime, SearchQuery(text="lease expiry", explain=True, fusion=fusion, mode=mode))
    assert len(answer.hits) >= 3
    for hit in answer.hits:
        told = hit.explanation
        assert math.isclose(sum(part["value"] for part in told["contributions"]), hit.score, abs_tol=1e-9)
        assert set(told["legs"]) == ({"dense", "sparse"} if mode == "hybrid" else {mode})
        for name, one in told["legs"].items():
            assert one["score"] == hit.scores[name]
        (by,) = told["rerankers"]
        assert (by["plugin"], by["score"], by["rank"]) == ("words", hit.scores["rerank"], hit.rank)
        assert by["blended"] == hit.score
        assert told["postprocessors"] == []


def test_nothing_is_explained_unasked(runtime):
    runtime.add("lease")
    assert search(runtime, SearchQuery(text="lease", rerank=False)).hits[0].explanation is None


def test_what_a_failing_reranker_did_not_do_is_no_part(runtime, script_reranker):
    runtime.add("lease")
    script_reranker(lambda query, texts: 1 / 0)
    (hit,) = search(runtime, SearchQuery(text="lease", explain=True)).hits
    assert hit.explanation["rerankers"] == []
    assert [part["component"] for part in hit.explanation["contributions"]] == ["dense", "sparse"]


def hit(name, score, explanation=True, rank=1):
    told = {"contributions": [{"component": "dense", "value": score}], "postprocessors": []} if explanation else None
    return SearchHit(
        rank=rank,
        score=score,
        document=name,
        title=None,
        text="",
        start=0,
        end=0,
        metadata={},
        scores={},
        explanation=told,
    )


def test_a_postprocessor_that_moves_a_hit_or_changes_its_score_is_told():
    a, b, c = (hit("same", score, rank=rank) for rank, score in enumerate((0.9, 0.8, 0.7), 1))
    raised = SearchHit(**{**vars(c), "score": 1.0})
    after = moved("group", [a, b, c], [raised, a, b])
    assert [one.explanation["postprocessors"] for one in after] == [
        [{"plugin": "group", "rank_before": 3, "rank_after": 1}],
        [{"plugin": "group", "rank_before": 1, "rank_after": 2}],
        [{"plugin": "group", "rank_before": 2, "rank_after": 3}],
    ]
    assert math.isclose(sum(part["value"] for part in after[0].explanation["contributions"]), 1.0)
    assert after[0].explanation["contributions"][-1]["component"] == "group"
    assert moved("highlight", [a, b], [a, b]) == [a, b], "who moves nothing is not told of"
    assert moved("group", [a, hit("b", 0.1, explanation=False, rank=2)], [a])[0] is a


def test_the_conditions_of_a_filter_are_told_apart():
    one, two, three = ({"key": key, "is_empty": True} for key in "abc")
    assert conditions_of(None) == []
    assert conditions_of({"must": one}) == [one]
    assert conditions_of({"must": [one, {"must": [two], "must_not": three}]}) == [one, two, {"must_not": [three]}]
    assert conditions_of({"should": [one, two], "must": [three]}) == [{"should": [one, two]}, three]
    least = {"conditions": [one, two], "min_count": 1}
    assert conditions_of({"must": [{"min_should": least}]}) == [{"min_should": least}]
