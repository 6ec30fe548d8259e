"""openai-compatible against a real HTTP server of our own."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from email.utils import formatdate

import numpy as np
import pytest

from semantik_pipeline.builtin import json_endpoint
from semantik_pipeline.builtin.embedders.openai_compatible import OpenAICompatibleEmbedder
from semantik_pipeline.contracts import EmbeddingMode
from semantik_pipeline.errors import DimensionMismatch, PermanentError, PluginConfigError, ServiceUnavailable
from semantik_pipeline.testing.embeddings_server import DIMENSION, embeddings, embeddings_server
from semantik_pipeline.testing.fake_models import hashed_words

SECRET = "sk-a-key-that-nobody-may-see"
TEXTS = [f"text number {n}" for n in range(10)]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(json_endpoint, "FIRST_BACKOFF", 0.01)


def embed(url: str, texts: list[str] = TEXTS, mode: EmbeddingMode = EmbeddingMode.DOCUMENT, **config) -> np.ndarray:
    async def life():
        plugin = OpenAICompatibleEmbedder({"base_url": url, "model": "hashed", "api_key": SECRET, **config})
        await plugin.initialize()
        try:
            return await plugin.embed_texts(texts, mode=mode)
        finally:
            await plugin.cleanup()

    return asyncio.run(life())


def expected(texts: list[str] = TEXTS) -> np.ndarray:
    return np.stack([hashed_words(text, DIMENSION) for text in texts])


def test_batches_keep_the_order_and_carry_the_key():
    with embeddings_server() as (url, script):
        vectors = embed(url, batch_size=3)
    assert np.allclose(vectors, expected(), atol=1e-6)
    assert vectors.dtype == np.float32
    assert sorted(len(request["body"]["input"]) for request in script.requests) == [1, 3, 3, 3]
    assert {request["authorization"] for request in script.requests} == {f"Bearer {SECRET}"}
    assert {request["body"]["model"] for request in script.requests} == {"hashed"}


def test_a_batch_keeps_its_token_budget():
    with embeddings_server() as (url, script):
        embed(url, max_batch_tokens=8)  # each text is 4 tokens by estimate
    assert [len(request["body"]["input"]) for request in script.requests] == [2] * 5


def test_no_more_requests_at_once_than_allowed():
    running, most, lock = [0], [0], threading.Lock()

    with embeddings_server() as (url, script):
        script_answer = script.answer

        def counted(request):
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            time.sleep(0.03)
            with lock:
                running[0] -= 1
            return script_answer(request)

        script.answer = counted
        embed(url, batch_size=1, concurrency=2)
    assert most[0] == 2


def test_prompts_and_dimensions_are_sent():
    with embeddings_server(lambda r: (200, {}, embeddings(r["body"]["input"], 8))) as (url, script):
        embed(url, ["a"], EmbeddingMode.QUERY, query_prompt="query: ", document_prompt="doc: ", dimensions=8)
        embed(url, ["a"], query_prompt="query: ", document_prompt="doc: ", dimensions=8)
    assert [request["body"]["input"] for request in script.requests] == [["query: a"], ["doc: a"]]
    assert script.requests[0]["body"]["dimensions"] == 8


def test_a_busy_server_is_asked_again_after_the_time_it_names():
    answers = [(429, {"Retry-After": "0.2"}, {}), (503, {}, {}), None]
    with embeddings_server(lambda request: answers.pop(0)) as (url, script):
        started = time.monotonic()
        assert np.allclose(embed(url), expected(), atol=1e-6)
        assert time.monotonic() - started >= 0.2
    assert len(script.requests) == 3


@pytest.mark.parametrize("as_date", [False, True])
def test_a_long_wait_is_left_to_the_ledger(as_date):
    wait = formatdate(time.time() + 120, usegmt=True) if as_date else "120"
    with (
        embeddings_server(lambda request: (429, {"Retry-After": wait}, {})) as (url, script),
        pytest.raises(ServiceUnavailable, match="HTTP 429") as caught,
    ):
        embed(url)
    assert len(script.requests) == 1
    assert 100 < caught.value.retry_after <= 121


def test_a_server_that_stays_down_is_unavailable():
    with (
        embeddings_server(lambda request: (500, {}, {})) as (url, script),
        pytest.raises(ServiceUnavailable, match="HTTP 500"),
    ):
        embed(url, max_retries=2)
    assert len(script.requests) == 3
    with pytest.raises(ServiceUnavailable, match="ConnectError"):
        embed(url, max_retries=0)  # nobody listens there any more


def test_one_refused_text_is_named_and_found_by_halving():
    def refuse_seven(request):
        bad = any("number 7" in text for text in request["body"]["input"])
        return (400, {}, {"error": f"too long; you sent {request['authorization']}"}) if bad else None

    with (
        embeddings_server(refuse_seven) as (url, script),
        pytest.raises(PermanentError, match=r"text 7, 'text number 7'.*too long") as caught,
    ):
        embed(url)
    assert not isinstance(caught.value, PluginConfigError)
    assert SECRET not in str(caught.value)
    assert len(script.requests) < 12


def test_an_endpoint_that_refuses_everything_is_configured_wrongly():
    with (
        embeddings_server(lambda request: (400, {}, {"error": "no such dimensions"})) as (url, _),
        pytest.raises(PluginConfigError, match="no such dimensions"),
    ):
        embed(url)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_names_the_variable_and_never_the_key(status, caplog):
    caplog.set_level(logging.DEBUG)
    with (
        embeddings_server(lambda request: (status, {}, {"error": f"bad key {SECRET}"})) as (url, _),
        pytest.raises(PluginConfigError, match="MY_KEY") as caught,
    ):
        embed(url, api_key_env="MY_KEY")
    assert SECRET not in str(caught.value) + repr(caught.value.__dict__)
    assert SECRET not in caplog.text


def test_an_unknown_model_is_a_matter_of_configuration():
    with (
        embeddings_server(lambda request: (404, {}, {"error": f"no model; key {SECRET}"})) as (url, _),
        pytest.raises(PluginConfigError, match="no model") as caught,
    ):
        embed(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ({"data": []}, PermanentError, "0 vectors for 1"),
        ({"nothing": 1}, PermanentError, "without embeddings"),
        ({"data": [{"index": 0, "embedding": [1.0, float("nan")]}]}, PermanentError, "not finite"),
        ({"data": [{"index": 0, "embedding": [None]}]}, PermanentError, "without embeddings"),
        ({"data": [{"index": 5, "embedding": [1.0]}]}, PermanentError, "1 vectors for 1"),
        ({"data": [{"index": 0, "embedding": [1.0, 2.0]}]}, DimensionMismatch, "dimensions=3"),
    ],
)
def test_a_wrong_answer_is_an_error(body, error, said):
    with embeddings_server(lambda request: (200, {}, body)) as (url, _), pytest.raises(error, match=said):
        embed(url, ["a"], dimensions=3)


def test_a_model_that_changes_its_dimension_is_noticed():
    sizes = [8, 16]

    async def twice(url):
        plugin = OpenAICompatibleEmbedder({"base_url": url, "model": "hashed"})
        await plugin.initialize()
        try:
            await plugin.embed_texts(["a"])
            with pytest.raises(DimensionMismatch, match=r"16 numbers, earlier with vectors of 8"):
                await plugin.embed_texts(["b"])
        finally:
            await plugin.cleanup()

    with embeddings_server(lambda r: (200, {}, embeddings(r["body"]["input"], sizes.pop(0)))) as (url, _):
        asyncio.run(twice(url))


def test_health():
    def health(url, **config):
        config = {"base_url": url, "model": "hashed", "api_key": SECRET, **config}
        return asyncio.run(OpenAICompatibleEmbedder.health_check(config))

    with embeddings_server() as (url, script):
        assert health(url).status == "healthy"
        assert script.requests[0]["path"] == "/v1/models"
        assert health(url, model=None).status == "unhealthy"
    away = health(url)
    assert away.status == "unhealthy" and "reached" in away.reason
    with embeddings_server(lambda request: (401, {}, {})) as (url, _):
        refused = health(url)
    assert refused.status == "unhealthy" and SECRET not in refused.reason
