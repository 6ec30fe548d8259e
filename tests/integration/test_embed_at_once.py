"""How many pools an embedder gets at once.

A fast one gets two, so that its device has work while the next is tokenized.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest

from semantik_pipeline.contracts.embedding import EmbeddingMode
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.stages import embed
from semantik_pipeline.testing.fakes import FakeEmbedder

POOLS = 6
TEXTS = {f"d{number}": f"text number {number}" for number in range(POOLS)}


class Crowd:
    """In place of an embedder's batch: each stays until another one has come, or for a moment if none may."""

    def __init__(self, moment: float) -> None:
        self.moment = moment
        self.inside = self.most = 0
        self._come = asyncio.Event()

    async def enter(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self.inside > 1:
            self._come.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._come.wait(), self.moment)
        self.inside -= 1


def embedded(pipeline: Any, monkeypatch: pytest.MonkeyPatch, crowd: Crowd) -> Any:
    """The pipeline, which has embedded documents, each in a pool of its own."""
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": TEXTS}), run=False)
    pipeline.run("sync", "chunk", "extract")
    assert {pipeline.stages()[name] for name in TEXTS} == {"embed"}
    before = FakeEmbedder._embed

    async def entered(self: FakeEmbedder, texts: list[str], mode: EmbeddingMode, vectors: Any) -> None:
        if mode == EmbeddingMode.DOCUMENT:
            self._device = asyncio.Lock()  # whoever comes next is let in
            await crowd.enter()
        await before(self, texts, mode, vectors)

    monkeypatch.setattr(FakeEmbedder, "_embed", entered)
    work_on(pipeline.runtime, "embed")
    return pipeline


def test_a_swift_embedder_has_two_pools_at_once(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "SLOW", 60.0)
    crowd = Crowd(moment=5.0)
    pipeline = embedded(make_pipeline(embed={"pool_chunks": 1}), monkeypatch, crowd)
    assert set(pipeline.stages().values()) == {"upsert"}
    assert crowd.most == embed.AT_ONCE
    pipeline.run()
    assert set(pipeline.stages().values()) == {"indexed"}


def test_a_slow_embedder_has_one(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "SLOW", 0.0)
    crowd = Crowd(moment=0.05)
    pipeline = embedded(make_pipeline(embed={"pool_chunks": 1}), monkeypatch, crowd)
    assert set(pipeline.stages().values()) == {"upsert"}
    assert crowd.most == 1


@pytest.mark.parametrize("kind", [KeyError, SystemExit])
def test_an_error_that_nobody_expects_leaves_no_lease(make_pipeline, monkeypatch: pytest.MonkeyPatch, kind) -> None:
    pipeline = make_pipeline(embed={"pool_chunks": 1})
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": TEXTS}), run=False)
    pipeline.run("sync", "chunk", "extract")

    good, raised = embed._embed, []

    def once_broken(runtime: Any, pool: embed.Pool) -> None:
        if not raised:
            raised.append(pool)
            raise kind("nobody expects this")
        good(runtime, pool)

    monkeypatch.setattr(embed, "_embed", once_broken)
    work_on(pipeline.runtime, "embed")
    assert not any(pipeline.unit(name)["lease_token"] or pipeline.unit(name)["attempts"] for name in TEXTS)


def test_a_host_that_has_no_more_threads_leaves_no_claim_open(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline(embed={"pool_chunks": 1})
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": TEXTS}), run=False)
    pipeline.run("sync", "chunk", "extract")
    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name == "embed-reader":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as context, pytest.raises(RuntimeError, match="new thread"):
        context.setattr(threading.Thread, "start", refused)
        work_on(pipeline.runtime, "embed")
    assert not any(pipeline.unit(name)["lease_token"] for name in TEXTS)
    pipeline.run()
    assert set(pipeline.stages().values()) == {"indexed"}


def test_texts_that_are_known_say_nothing_about_an_embedder(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "SLOW", 0.001)
    first = {name: text for number, (name, text) in enumerate(TEXTS.items()) if number % 2}
    pipeline = make_pipeline(embed={"pool_chunks": 1}, plugins={"fake-embedder": {"sleep_ms_per_text": 10}})
    pipeline.index(SourceRequest(connector="fake-connector", name="other", config={"documents": first}))
    crowd = Crowd(moment=0.5)
    pipeline = embedded(pipeline, monkeypatch, crowd)
    assert "embed" not in pipeline.stages().values()
    assert crowd.most == 1
