"""http-reranker against a real HTTP server of our own."""

from __future__ import annotations

import asyncio
import time

import pytest

from semantik_pipeline.builtin.rerankers.http_reranker import HttpReranker
from semantik_pipeline.contracts import RerankerCapabilities
from semantik_pipeline.errors import PermanentError, PluginConfigError, ServiceUnavailable
from semantik_pipeline.plugins.host import PluginHost
from semantik_pipeline.plugins.state import PluginState
from semantik_pipeline.search import SearchQuery
from semantik_pipeline.search.blending import unranked
from semantik_pipeline.search.fusion import Candidate
from semantik_pipeline.search.request import plan_search
from semantik_pipeline.search.rerank_check import accepted
from semantik_pipeline.search.reranking import rerank
from semantik_pipeline.settings import Search
from semantik_pipeline.testing.fake_models import overlap
from semantik_pipeline.testing.rerank_server import ranking, rerank_server

SECRET = "co-a-key-that-nobody-may-see"
TEXTS = ["leases expire", "the queue", "how do leases expire", "nothing", ""]
QUERY = "how do leases expire"


def ask(url, texts=TEXTS, query=QUERY, top_k=None, **config):
    async def life():
        plugin = HttpReranker({"base_url": url, "model": "words", "api_key": SECRET, **config})
        await plugin.initialize()
        try:
            return await plugin.rerank(query, texts, top_k)
        finally:
            await plugin.cleanup()

    return asyncio.run(life())


@pytest.mark.parametrize(
    ("shape", "sent"),
    [
        ("cohere", {"model", "query", "documents", "top_n"}),
        ("voyage", {"model", "query", "documents", "top_k"}),
        ("tei", {"model", "query", "texts", "truncate"}),
    ],
)
def test_one_request_in_the_servers_shape_and_its_scores(shape, sent):
    with rerank_server() as (url, script):
        found = ask(url, shape=shape)
    assert {result.index: result.score for result in found} == {i: overlap(QUERY, text) for i, text in enumerate(TEXTS)}
    assert [result.score for result in found] == sorted((r.score for r in found), reverse=True)
    [request] = script.requests
    assert request["path"] == "/v1/rerank"
    assert set(request["body"]) == sent
    assert request["body"]["query"] == QUERY
    assert request["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(("options", "most"), [({"shape": "tei"}, 32), ({}, 100), ({"max_documents": 7}, 7)])
def test_a_request_has_no_more_texts_than_the_server_takes(options, most):
    texts = [f"leases {'expire' if n % 3 else ''} {n}" for n in range(110)]
    with rerank_server() as (url, script):
        found = ask(url, texts, **options)
    sizes = [len(request["body"].get("texts") or request["body"]["documents"]) for request in script.requests]
    assert max(sizes) == most and sum(sizes) == 110
    assert {result.index: result.score for result in found} == {i: overlap(QUERY, text) for i, text in enumerate(texts)}
    assert [result.score for result in found] == sorted((r.score for r in found), reverse=True)


@pytest.mark.parametrize("wrong", [3, -1, 10**30])
def test_a_bad_index_gets_no_passage_of_another_request(wrong):
    """Of the second of three requests, which has three texts."""

    def answer(request):
        found = ranking(request["body"])
        if request["body"]["documents"][0] == "second":
            found["results"][0] = {"index": wrong, "relevance_score": 99.0}
        return 200, {}, found

    texts = ["leases", "leases", "leases", "second", "leases", "leases", "leases", "leases"]
    with rerank_server(answer) as (url, _):
        found = ask(url, texts, max_documents=3)
    assert sorted(result.index for result in found) == [-1, 0, 1, 2, 3, 4, 6, 7]
    assert all(result.score < 99 for result in found if result.index >= 0)
    scores, faults = accepted(found, len(texts))
    assert len(scores) == len(texts) - 1
    assert faults == ["1 result(s) dropped: index out of range"]


@pytest.mark.parametrize("truncate", [True, False])
def test_a_server_of_the_shape_tei_is_told_whether_it_may_cut(truncate):
    with rerank_server() as (url, script):
        ask(url, shape="tei", **({} if truncate else {"truncate": False}))
    assert script.requests[0]["body"]["truncate"] is truncate


def test_only_the_best_few():
    with rerank_server() as (url, _):
        assert [result.index for result in ask(url, top_k=2)] == [2, 0]


@pytest.mark.parametrize(
    ("headers", "status"), [({"Retry-After": "0.05"}, 429), ({}, 503), ({"Retry-After": "0"}, 500)]
)
def test_a_busy_server_is_asked_again_when_it_says(headers, status):
    answers = iter([(status, headers, {}), None])
    with rerank_server(lambda request: next(answers)) as (url, script):
        assert len(ask(url)) == len(TEXTS)
    assert len(script.requests) == 2


def test_a_server_that_asks_for_patience_is_given_up_at_once():
    with rerank_server(lambda request: (429, {"Retry-After": "30"}, {})) as (url, script):
        began = time.monotonic()
        with pytest.raises(ServiceUnavailable, match="HTTP 429") as caught:
            ask(url)
    assert time.monotonic() - began < 20
    assert caught.value.retry_after == 30
    assert len(script.requests) == 1


def test_a_refused_key_is_told_and_never_shown():
    with rerank_server(lambda request: (401, {}, {"message": f"bad key {SECRET}"})) as (url, _):
        with pytest.raises(PluginConfigError, match="key was refused") as caught:
            ask(url, api_key_env="CO_KEY")
        assert "CO_KEY" in str(caught.value)
    absent = (404, {}, {"message": f"{SECRET} no such model"})
    with rerank_server(lambda request: absent) as (url, _), pytest.raises(PluginConfigError) as caught:
        ask(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"results": [{"index": 0}]},
        {"results": 7},
        "nonsense",
        *({"results": [{"index": index, "score": 1}]} for index in ("x", 1.7, True, None)),
    ],
)
def test_an_answer_that_is_no_ranking_is_told(body):
    with (
        rerank_server(lambda request: (200, {}, body)) as (url, _),
        pytest.raises(PermanentError, match="without a ranking"),
    ):
        ask(url)


def test_what_it_needs_is_told():
    with pytest.raises(PluginConfigError, match="base_url"):
        asyncio.run(HttpReranker({"model": "x"}).initialize())
    health = asyncio.run(HttpReranker.health_check({"base_url": "http://127.0.0.1:1/v1"}))
    assert (health.status, health.reason) == ("unhealthy", "no model is configured")
    with rerank_server() as (url, _):
        health = asyncio.run(HttpReranker.health_check({"base_url": url, "model": "words"}))
    assert health.status == "healthy"


# -- in a search -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def host():
    host = PluginHost.start(PluginState(), kinds=["reranker"])
    yield host
    host.close()


def reranked(host, url, count=60, deadline=60.0, **options):
    candidates = [
        Candidate(id=str(i), fused=1 - i / count, payload={"text": "leases " + "x " * (i % 3)}) for i in range(count)
    ]
    collection = {
        "search": {"rerankers": [{"plugin": "http-reranker", "options": {"base_url": url, "model": "m", **options}}]}
    }
    plan = plan_search(SearchQuery(text="leases", candidates=count, rerank_deadline=deadline), Search(), collection)
    outcome = rerank(host, plan, candidates)
    assert sorted(r.candidate.id for r in outcome.ranked) == sorted(r.candidate.id for r in unranked(candidates).ranked)
    return outcome


def test_a_search_asks_in_few_requests_within_what_it_takes(host):
    able: RerankerCapabilities = HttpReranker.get_capabilities()
    with rerank_server() as (url, script):
        outcome = reranked(host, url)
    sizes = [len(request["body"]["documents"]) for request in script.requests]
    assert sizes[0] == able.first_documents and max(sizes) <= able.max_documents and sum(sizes) == 60
    assert outcome.warnings == []
    assert outcome.reports[0].scored == 60
    assert {r.judgements[0].share for r in outcome.ranked} == {1.0}  # as the server said, not stretched


def test_no_more_is_sent_than_the_servers_model_reads_and_the_search_says_so(host):
    candidates = [
        Candidate(id=str(i), fused=1, payload={"text": "leases " * n, "token_count": n}) for i, n in enumerate((9, 90))
    ]
    given = {"base_url": "", "model": "m", "shape": "tei", "max_doc_tokens": 30, "max_query_tokens": 2}
    with rerank_server() as (url, script):
        chain = [{"plugin": "http-reranker", "options": given | {"base_url": url}}]
        query = SearchQuery(text="how do the leases of a worker expire", rerank_deadline=60)
        outcome = rerank(host, plan_search(query, Search(), {"search": {"rerankers": chain}}), candidates)
    [sent] = [request["body"] for request in script.requests]
    assert [len(text.split()) for text in sent["texts"]] == [9, 30]
    assert 0 < len(sent["query"]) < len(query.text) / 2
    assert outcome.warnings == [
        "http-reranker read the beginning of the query, about 2 tokens",
        "http-reranker read the beginnings of 1 of 2 passages, about 30 tokens each",
    ]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda body: (500, {}, {}), "is unavailable (HTTP 500)"),
        (lambda body: (429, {"Retry-After": "5"}, {}), "is unavailable (HTTP 429)"),
        (lambda body: (401, {}, {}), "the key was refused"),
        (lambda body: (200, {}, {"results": ranking(body)["results"][1:]}), "no usable score for the others"),
        (lambda body: (200, {}, {"results": ranking(body)["results"] * 2}), "index given twice"),
        (lambda body: (200, {}, {"results": [{"index": 999, "relevance_score": 1.0}]}), "index out of range"),
        (lambda body: (200, {}, {"results": [{"index": 0, "relevance_score": float("nan")}]}), "score not finite"),
        (lambda body: (200, {}, []), "no usable score for the others"),
    ],
)
def test_whatever_the_server_answers_the_search_goes_on_and_says_so(host, answer, told):
    with rerank_server(lambda request: answer(request["body"])) as (url, _):
        outcome = reranked(host, url, api_key_env="PATH", max_retries=0)
    assert any(told in warning for warning in outcome.warnings), outcome.warnings


def test_a_server_that_keeps_silent_is_left_at_the_deadline(host):
    def silent(request):
        time.sleep(1.0)
        return

    with rerank_server(silent) as (url, _):
        outcome = reranked(host, url, deadline=0.2)
    assert outcome.warnings == ["reranked 0 of 60: deadline"]


def test_a_server_that_is_not_there_is_told(host):
    outcome = reranked(host, "http://127.0.0.1:1/v1", max_retries=0)
    assert "is unavailable (ConnectError)" in outcome.warnings[0]
