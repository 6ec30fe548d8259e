"""A long claim keeps its lease while it makes progress, and gives back units it has not begun when a suspect waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from semantik_pipeline.errors import ChildTimeout
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import STAGES, work_on
from semantik_pipeline.plugins import child
from semantik_pipeline.plugins.child import ChildPool
from semantik_pipeline.plugins.host import PluginHost
from semantik_pipeline.runtime import CHILD_KINDS, Runtime
from semantik_pipeline.stages import chunk, extract, sync
from semantik_pipeline.stages.claims import Claims
from semantik_pipeline.stages.extracting import extract_texts

EXTRACTING = {
    "embedding": {"plugin": "fake-embedder", "options": {}},
    "chunking": {"plugin": "recursive", "options": {"max_tokens": 40, "min_tokens": 1, "overlap_tokens": 0}},
    "extraction": {"enabled": True, "chunk": [{"plugin": "fake-extractor", "options": {}}], "document": []},
}


TEXTS = {f"d{number}": f"text {number}" for number in range(6)}


class Children:
    """Children that need no time to start: they work in this process. An extractor hangs on POISON."""

    def __init__(self, runtime: Runtime, *, before: Callable[[], None] = lambda: None) -> None:
        self.host = runtime.host
        self.before = before

    def run(self, function: Callable[..., Any], *args: Any, deadline: float, **_: object) -> Any:
        self.before()
        if function is extract_texts and "POISON" in str(args[-1]):
            time.sleep(deadline)
            raise ChildTimeout(f"It was still running after {deadline:g} s.")
        return function(self.host, *args)

    def close(self) -> None:
        pass


def with_documents(pipeline, documents: dict[str, str], *stages: str) -> Runtime:
    """A runtime whose ledger has these documents behind ``stages``."""
    request = SourceRequest(connector="fake-connector", name="fake", config={"documents": documents})
    pipeline.index(request, config=EXTRACTING, run=False)
    pipeline.runtime.children = Children(pipeline.runtime)
    for stage in ("sync", *stages):
        work_on(pipeline.runtime, stage)
    return pipeline.runtime


def claims(runtime: Runtime, stage: str) -> Claims:
    return Claims(runtime, stage, limit=64, deadline=60, until=time.monotonic())  # one claim


class Suspect:
    """A suspect of another stage, which asks for the room and leaves it as soon as it has it."""

    def __init__(self, runtime: Runtime) -> None:
        self.room = runtime.room
        self.threads = ThreadPoolExecutor(1)
        self.served: Future[bool] | None = None

    def ask(self) -> None:
        """Once; returns when it waits."""
        if self.served is None:
            self.served = self.threads.submit(self._come_and_go, time.monotonic() + 5)
            while self.room._began is None and not self.served.done():
                time.sleep(0.005)

    def _come_and_go(self, until: float) -> bool:
        place = self.room.alone(lambda: time.monotonic() > until, patient=True)
        if place is not None:
            place.leave()
        return place is not None

    def was_served(self) -> bool:
        with self.threads:
            return self.served is not None and self.served.result(10)


def count(pipeline, stage: str) -> int:
    return list(pipeline.stages().values()).count(stage)


def test_an_extractor_that_hangs_on_many_documents_makes_no_suspects(make_pipeline):
    """Together they take longer than the deadline of the stage, which each of them has for itself."""
    pipeline = make_pipeline(child={"extract_deadline": 0.1})
    bad = {f"bad{number}": f"POISON {number}" for number in range(8)}
    runtime = with_documents(pipeline, {"good": "a text", **bad, "well": "another text"}, "chunk")
    began, whole = time.monotonic(), STAGES["extract"].deadline(runtime.settings)
    lapsed: list[bool] = []
    holds = runtime.keeper._holds
    runtime.children = Children(runtime, before=lambda: lapsed.append(any(hold.over for hold in holds.values())))
    work_on(runtime, "extract")
    assert time.monotonic() - began > 2 * whole
    assert len(lapsed) > len(bad) and not any(lapsed)  # or others would take them, as suspects, and this process end
    found = {name: pipeline.unit(name) for name in (*bad, "good", "well")}
    assert {one["stage"] for one in found.values()} == {"embed"}
    assert not any(one["suspect"] or one["attempts"] for one in found.values())
    assert {name for name, one in found.items() if one["notes"]} == set(bad)


def nap(host: PluginHost, seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.parametrize("stage", ["chunk", "extract"])
def test_waiting_for_a_child_is_no_hanging(make_pipeline, monkeypatch, stage):
    """Somebody else's document takes the only child for longer than the stage's deadline."""
    monkeypatch.setattr(child, "WAITING_SECONDS", 0.1)
    monkeypatch.setitem(STAGES, stage, replace(STAGES[stage], deadline=lambda settings: 1.0))
    pipeline = make_pipeline()
    runtime = with_documents(pipeline, TEXTS, *(["chunk"] if stage == "extract" else []))
    runtime.children = ChildPool(1, runtime.host.state, kinds=CHILD_KINDS, memory_mb=400)
    runtime.children.run(nap, 0.0, deadline=60)  # it has started
    holds, lapsed = runtime.keeper._holds, []
    with ThreadPoolExecutor(2) as threads:
        threads.submit(runtime.children.run, nap, 2.0, deadline=60)
        while runtime.children._idle:
            time.sleep(0.01)
        began = time.monotonic()
        done = threads.submit(work_on, runtime, stage)
        while not done.done():
            lapsed.append(any(hold.over for hold in list(holds.values())))
            time.sleep(0.05)
        done.result()
    assert time.monotonic() - began > 1.5 and not any(lapsed)
    assert set(pipeline.stages().values()) == {"extract" if stage == "chunk" else "embed"}


def test_parsing_hands_back_what_it_has_not_begun_when_a_suspect_waits(make_pipeline, monkeypatch):
    monkeypatch.setattr(chunk, "TOGETHER", 1)  # each document is a request of its own
    pipeline = make_pipeline()
    runtime = with_documents(pipeline, TEXTS)
    suspect = Suspect(runtime)
    runtime.children = Children(runtime, before=suspect.ask)
    chunk.run(runtime, claims(runtime, "chunk"))
    assert suspect.was_served()
    assert (count(pipeline, "extract"), count(pipeline, "chunk")) == (1, 5)
    assert pipeline.unit("d5")["lease_token"] is None and pipeline.unit("d5")["attempts"] == 0


def test_extractors_that_hang_hand_back_what_they_have_not_begun_when_a_suspect_waits(make_pipeline):
    pipeline = make_pipeline(child={"extract_deadline": 0.1})
    runtime = with_documents(pipeline, {f"d{number}": f"POISON {number}" for number in range(6)}, "chunk")
    suspect = Suspect(runtime)
    runtime.children = Children(runtime, before=suspect.ask)
    extract.run(runtime, claims(runtime, "extract"))
    assert suspect.was_served()
    assert (count(pipeline, "embed"), count(pipeline, "extract")) == (1, 5)


def test_a_source_without_checkpoints_is_left_once_for_a_suspect_and_then_read_to_its_end(make_pipeline, monkeypatch):
    pipeline = make_pipeline(sync={"batch_size": 100})
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": TEXTS}), run=False)
    runtime, suspects = pipeline.runtime, []
    kept: list[int] = []
    add, run = sync.Slice._add, sync.Slice.run

    def add_while_a_suspect_asks(self: sync.Slice, event: object) -> None:
        suspects[-1].ask()
        add(self, event)

    def run_with_a_suspect(self: sync.Slice) -> None:
        suspects.append(Suspect(runtime))
        run(self)
        kept.append(len(pipeline.stages()))

    monkeypatch.setattr(sync.Slice, "_add", add_while_a_suspect_asks)
    monkeypatch.setattr(sync.Slice, "run", run_with_a_suspect)
    work_on(runtime, "sync")
    assert [suspect.was_served() for suspect in suspects] == [True, True]
    assert kept == [1, len(TEXTS)]  # what was read before it left is kept


def test_the_first_documents_of_a_source_are_on_their_way_while_the_others_are_read(make_pipeline, monkeypatch):
    """Batches grow from FIRST_BATCH to ``sync.batch_size``; a smaller setting holds from the start."""
    texts = {f"d{number:03}": f"text number {number}" for number in range(230)}
    config = {"documents": texts, "checkpoint_every": 1000}
    for most, expected in ((100, [25, 50, 100, 55]), (20, [20] * 11 + [10])):
        pipeline, sizes = make_pipeline(sync={"batch_size": most}), []
        flush = sync.Slice._flush

        def counted(self: sync.Slice, cursor: object = None, flush=flush, sizes=sizes) -> None:
            sizes.append(len(self.batch))
            flush(self, cursor)

        pipeline.index(SourceRequest(connector="fake-connector", name="fake", config=config), run=False)
        with monkeypatch.context() as patched:
            patched.setattr(sync.Slice, "_flush", counted)
            work_on(pipeline.runtime, "sync")
        assert sizes == expected
