"""A process that lacks, for example, a plugin's key rarely claims units of that plugin, and others can do them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from semantik_pipeline.errors import PipelineError, VariableNotSet
from semantik_pipeline.operations import SourceRequest, look, wait
from semantik_pipeline.pipeline import STAGES, work_on
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.stages.left import LEFT, LeftWork
from semantik_pipeline.testing.fakes import FakeChunker, FakeEmbedder, FakeExtractor, FakeParser
from tests.integration.conftest import FAKE_COLLECTION
from tests.integration.test_sick_workers import chunked, documents, embed_often, harmless, raising


def test_a_process_without_the_key_of_a_model_leaves_it_to_others_for_a_while(make_pipeline, monkeypatch):
    pipeline = chunked(make_pipeline)
    tries = []

    def initialize(*_: object, **__: object) -> None:
        tries.append(1)
        raise VariableNotSet("ACME_KEY is not set.")

    monkeypatch.setattr(FakeEmbedder, "initialize", initialize)
    embed_often(pipeline)
    assert harmless(pipeline)
    assert len(tries) == 1
    assert list(pipeline.runtime.refusals(["embed"]).values()) == ["ACME_KEY is not set."]
    with pytest.raises(PipelineError, match="ACME_KEY"):
        wait(pipeline.runtime, pipeline.operation)


def test_a_model_whose_vectors_have_another_length_is_left_to_others_too(make_pipeline, monkeypatch):
    pipeline = chunked(make_pipeline)
    tries = []

    def embed_texts(self, texts: list[str], **_: object) -> list[list[float]]:
        tries.append(len(texts))
        return [[1.0, 0.0]] * len(texts)

    monkeypatch.setattr(FakeEmbedder, "embed_texts", embed_texts)
    embed_often(pipeline)
    assert harmless(pipeline)
    assert tries == [8]
    assert "2 dimensions" in pipeline.runtime.refusals(["embed"]).popitem()[1]


class Child:
    """A child that works in this process, and counts the requests."""

    def __init__(self, runtime: Runtime) -> None:
        self.host, self.requests = runtime.host, 0

    def run(self, function: Callable, *args: object, **_: object) -> object:
        self.requests += 1
        return function(self.host, *args)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("stage", "lacking"), [("chunk", FakeChunker), ("extract", FakeExtractor)])
def test_a_process_that_lacks_what_a_stage_needs_leaves_it_to_others_for_a_while(
    make_pipeline, monkeypatch, stage, lacking
):
    config = {
        **FAKE_COLLECTION,
        "chunking": {"plugin": "fake-chunker", "options": {}},
        "extraction": {"chunk": [{"plugin": "fake-extractor", "options": {}}], "document": []},
    }
    pipeline = make_pipeline()
    pipeline.index(documents(8), config=config, run=False)
    pipeline.run("sync", *(["chunk"] if stage == "extract" else []))
    runtime = pipeline.runtime
    runtime.children.close()
    runtime.children = child = Child(runtime)
    monkeypatch.setattr(lacking, "initialize", raising(VariableNotSet("ACME_KEY is not set.")))
    for _ in range(12):
        pipeline.hurry()
        work_on(runtime, stage)
    assert child.requests == (2 if stage == "chunk" else 1)  # chunk asks whether it is one parser that lacks something
    assert list(runtime.refusals(STAGES).values()) == ["ACME_KEY is not set."]
    units = [pipeline.unit(f"t0{number}") for number in range(8)]
    assert {(one["stage"], one["attempts"], one["suspect"]) for one in units} == {(stage, 0, False)}


def test_a_semantic_chunker_without_the_key_of_its_model_is_left_to_others(make_pipeline, monkeypatch):
    chunking = {"plugin": "semantic", "options": {"max_tokens": 40, "min_tokens": 1}}
    pipeline = make_pipeline()
    request = documents(0, long="One sentence. Another one. A third one here.")
    pipeline.index(request, config={**FAKE_COLLECTION, "chunking": chunking}, run=False)
    pipeline.run("sync")
    monkeypatch.setattr(FakeEmbedder, "initialize", raising(VariableNotSet("ACME_KEY is not set.")))
    work_on(pipeline.runtime, "chunk")
    unit = pipeline.unit("long")
    assert (unit["stage"], unit["attempts"], unit["suspect"]) == ("chunk", 0, False)
    assert {place.rpartition(":")[2] for place in pipeline.runtime.refusals(STAGES)} == {"chunk", "embed"}


def test_a_parser_that_lacks_something_stops_no_other(make_pipeline, monkeypatch):
    monkeypatch.setattr(FakeParser, "initialize", raising(VariableNotSet("ACME_KEY is not set.")))
    config = {**FAKE_COLLECTION, "parsers": {"by_media_type": {"text/markdown": "fake-parser"}}}
    pipeline = make_pipeline()
    runtime = pipeline.runtime
    runtime.children = Child(runtime)
    marked = {"documents": {"a.md": "# One"}, "media_type": "text/markdown"}
    request = SourceRequest(connector="fake-connector", name="marked", config=marked)
    pipeline.index(request, documents(2), config=config, run=False)
    for _ in range(4):
        pipeline.hurry()
        for stage in ("sync", "chunk"):
            work_on(runtime, stage)
    assert pipeline.stages() == {"a.md": "chunk", "t00": "embed", "t01": "embed"}
    assert runtime.refusals(STAGES) == {}


def test_units_of_a_parser_that_a_process_lacks_are_left_to_others_for_a_while(make_pipeline, monkeypatch):
    config = {**FAKE_COLLECTION, "parsers": {"by_media_type": {"text/markdown": "fake-parser"}}}
    lacking = make_pipeline()
    runtime, clock = lacking.runtime, [0.0]
    runtime.left = LeftWork(clock=lambda: clock[0])
    runtime.children = child = Child(runtime)
    marked = {"documents": {f"{name}.md": f"# {name}" for name in "abc"}, "media_type": "text/markdown"}
    request = SourceRequest(connector="fake-connector", name="marked", config=marked)
    operation_id = lacking.index(request, config=config, run=False)["id"]
    work_on(runtime, "sync")

    def asked() -> int:
        before = child.requests
        for _ in range(3):
            lacking.hurry()
            work_on(runtime, "chunk")
        return child.requests - before

    with monkeypatch.context() as without:
        without.setattr(FakeParser, "initialize", raising(VariableNotSet("ACME_KEY is not set.")))
        first = asked()
        assert first > 0
        assert asked() == 0
        assert look(runtime, operation_id).reason == "ACME_KEY is not set."
        clock[0] = LEFT + 1
        assert asked() == first
    assert asked() == 0
    other = make_pipeline()
    other.run("chunk")
    assert set(other.stages().values()) == {"embed"}
