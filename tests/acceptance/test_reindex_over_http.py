"""A client searches over HTTP 50 times a second while a server rebuilds its index for a model of another dimension.

There is no error, no empty answer, and no answer that mixes the two indexes.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from semantik_pipeline.client import Client as HttpClient
from tests.acceptance.conftest import Semantik
from tests.integration.test_reindex_under_search import Answer, Client, judge


@contextmanager
def served(semantik: Semantik) -> Iterator[tuple[str, str]]:
    """Start a server in a separate process and yield ``(url, key)``."""
    process, note = semantik.start("serve", "--port", "0"), semantik.data / "owner.json"
    try:
        until = time.monotonic() + 60
        while not (note.exists() and "url" in (told := json.loads(note.read_text()))):
            assert process.poll() is None and time.monotonic() < until, "no server"
            time.sleep(0.05)
        yield told["url"], (semantik.data / "admin.key").read_text().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def prove(semantik: Semantik, count: int) -> None:
    documents = [
        {
            "document": f"d{number:04}",
            "text": " ".join(f"topic{number:04} word{number * 7 + place} of the day." for place in range(20)),
        }
        for number in range(count)
    ]
    questions = [f"topic{number:04} of the day" for number in range(0, count, 3)][:30]
    with served(semantik) as (url, key):
        mine = threading.local()  # one client, and so one connection, per thread

        def ask(question: str) -> Answer:
            if not hasattr(mine, "client"):
                mine.client = HttpClient(url, key)
            hits = mine.client.search(question, top_k=3, use_reranker=False)["hits"]
            return tuple((hit["document"], round(hit["score"], 4)) for hit in hits)

        def ended(operation: str) -> dict[str, Any]:
            *_, last = mine.client.operations.follow(operation)
            return last

        mine.client = HttpClient(url, key)
        mine.client.collections.create("default")
        for start in range(0, count, 500):
            pushed = mine.client.documents.push(documents[start : start + 500])
            assert ended(pushed["operation"])["outcome"] == "succeeded"
        before = {question: ask(question) for question in questions}
        with Client(ask, questions) as client:
            begun = mine.client.collections.reindex("default", {"embedding.dimension": 32})
            assert ended(begun["operation"])["outcome"] == "succeeded"
            time.sleep(0.5)  # so that some searches use the new index
        after = {question: ask(question) for question in questions}
        report = mine.client.collections.verify("default")
    judge(client, before, after)
    assert report["clean"]


def test_a_server_is_searched_while_its_index_is_built_anew(semantik):
    prove(semantik, 60)


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_larger_one_too(semantik):
    prove(semantik, 3000)
