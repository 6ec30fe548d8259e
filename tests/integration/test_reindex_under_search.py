"""Searches, all the while that an index is built anew: no error, no empty answer, none that mixes the two."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from semantik_pipeline import generations, operations
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from semantik_pipeline.verification import verify
from tests.integration.conftest import texts
from workers.embedded import embedded_worker

#: Searches a second, over all threads.
RATE = 50

Answer = tuple[tuple[str, float], ...]


class Client:
    """Asks the same questions repeatedly from several threads, and keeps every answer with its start and end.

    ``ask`` gives the answer to one question: ``(document, score)`` of each hit.
    """

    def __init__(self, ask: Callable[[str], Answer], questions: list[str], threads: int = 2) -> None:
        self._answer, self._questions = ask, questions
        self.answers: list[tuple[float, float, str, Answer]] = []
        self.errors: list[Exception] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number, threads)) for number in range(threads)]

    def _ask(self, number: int, threads: int) -> None:
        asked = number
        while not self._over.wait(threads / RATE):
            question = self._questions[asked % len(self._questions)]
            asked += 1
            began = time.monotonic()
            try:
                found = self._answer(question)
                self.answers.append((began, time.monotonic(), question, found))
            except Exception as error:
                self.errors.append(error)

    def __enter__(self) -> Client:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def answer(runtime, question: str) -> Answer:
    hits = search(runtime, SearchQuery(text=question, limit=3, rerank=False)).hits
    return tuple((Path(hit.document).stem, round(hit.score, 4)) for hit in hits)


def prove(pipe, corpus: Path) -> Client:
    runtime = pipe.runtime
    questions = [f"topic{number:02} of the day" for number in range(0, 30, 3)]
    with embedded_worker(runtime):
        operations.wait(runtime, pipe.folder(corpus, run=False)["id"])
        before = {question: answer(runtime, question) for question in questions}
        with Client(partial(answer, runtime), questions) as client:
            time.sleep(0.5)
            operation_id = generations.reindex(runtime, "default", {"embedding.dimension": 16})
            assert operations.wait(runtime, operation_id).outcome == "succeeded"
            time.sleep(0.5)
        after = {question: answer(runtime, question) for question in questions}
    judge(client, before, after)
    assert verify(runtime).clean
    return client


def judge(client: Client, before: dict[str, Answer], after: dict[str, Answer]) -> None:
    """No error, no empty answer, and each is the old index's or, from one moment on, the new one's."""
    assert client.errors == []
    assert len(client.answers) > 30
    told = {"before": 0, "after": 0}
    for _, _, question, found in client.answers:
        assert found, f"an empty answer to {question!r}"
        assert found in (before[question], after[question]), "neither the old index nor the new one"
        told["before"] += found == before[question] != after[question]
        told["after"] += found == after[question] != before[question]
    assert told["before"]
    assert told["after"]
    new = [ended for _, ended, question, found in client.answers if found != before[question]]
    old = [began for began, _, question, found in client.answers if found != after[question]]
    assert max(old) <= min(new), "the old index was read after the switch"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    contents = {
        f"d{number:02}": " ".join(f"topic{number:02} word{number * 7 + place} of the day." for place in range(20))
        for number in range(30)
    }
    return texts(tmp_path / "corpus", **contents)


@pytest.fixture
def double() -> Iterator[QdrantDouble]:
    double = QdrantDouble().start()
    yield double
    double.stop()


def test_on_the_embedded_default(make_pipeline, corpus):
    prove(make_pipeline(), corpus)


@pytest.mark.parametrize("ledger", ["postgres"], indirect=True)
def test_on_the_servers(make_pipeline, corpus, ledger, double):
    prove(make_pipeline(qdrant={"url": double.url}), corpus)
