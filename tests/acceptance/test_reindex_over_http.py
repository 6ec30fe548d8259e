"""A client over HTTP asks 50 times a second, all the while that a server builds its index anew for a model of another
dimension: no error, no empty answer, none that mixes the two."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from semantik_pipeline.client import Client as HttpClient
from tests.acceptance.conftest import Semantik
from tests.integration.conftest import texts
from tests.integration.test_reindex_under_search import Answer, Client, judge


@contextmanager
def served(semantik: Semantik) -> Iterator[tuple[str, str]]:
    """``(url, key)`` of a server in a process of its own."""
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


def prove(semantik: Semantik, folder: Path, files: int) -> None:
    contents = {
        f"d{number:04}": " ".join(f"topic{number:04} word{number * 7 + place} of the day." for place in range(20))
        for number in range(files)
    }
    texts(folder, **contents)
    assert semantik.run("index", str(folder))["outcome"] == "succeeded"
    questions = [f"topic{number:04} of the day" for number in range(0, files, 3)][:30]
    with served(semantik) as (url, key):
        mine = threading.local()  # connections of each thread

        def ask(question: str) -> Answer:
            if not hasattr(mine, "client"):
                mine.client = HttpClient(url, key)
            hits = mine.client.search(question, top_k=3, use_reranker=False)["hits"]
            return tuple((Path(hit["document"]).stem, round(hit["score"], 4)) for hit in hits)

        before = {question: ask(question) for question in questions}
        with Client(ask, questions) as client:
            begun = mine.client.collections.reindex("default", {"embedding.dimension": 32})
            for progress in mine.client.operations.follow(begun["operation"]):
                ended = progress
            time.sleep(0.5)  # some are asked of the new one
        assert ended["outcome"] == "succeeded"
        after = {question: ask(question) for question in questions}
        report = mine.client.collections.verify("default")
    judge(client, before, after)
    assert report["clean"]


def test_a_server_is_searched_while_its_index_is_built_anew(semantik, tmp_path):
    prove(semantik, tmp_path / "corpus", 60)


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_larger_one_too(semantik, tmp_path):
    prove(semantik, tmp_path / "corpus", 3000)
