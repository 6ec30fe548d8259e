"""The fakes do what tests rely on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semantik_pipeline.contracts import KINDS, ChunkConfig, EmbeddingMode
from semantik_pipeline.documents import Complete, DocumentReference, IngestedDocument, Removal, content_hash
from semantik_pipeline.errors import DocumentGone, PermanentError, ServiceUnavailable, SkipDocument, TransientError
from semantik_pipeline.testing import fakes
from semantik_pipeline.testing.misbehaviour import CRASH_EXIT_CODE


def embed(config: dict, *texts: str, mode: EmbeddingMode = EmbeddingMode.DOCUMENT) -> np.ndarray:
    return asyncio.run(fakes.FakeEmbedder(config).embed_texts(list(texts), mode=mode))


def emitted(config: dict, cursor: object = None) -> list:
    async def gather() -> list:
        return [item async for item in fakes.FakeConnector(config).enumerate(cursor)]

    return asyncio.run(gather())


@pytest.mark.parametrize("name", fakes.__all__)
def test_each_is_a_plugin_of_its_kind(name: str) -> None:
    cls = getattr(fakes, name)
    assert issubclass(cls, KINDS[cls.PLUGIN_TYPE][0])
    assert cls.PLUGIN_ID.startswith("fake-")
    assert cls.get_manifest().config_schema["type"] == "object"


def test_neither_pytest_nor_torch_is_imported() -> None:
    code = (
        "import sys, semantik_pipeline.testing as t; t.FakeEmbedder, t.MemoryStore;"
        "print(sorted({'pytest', 'torch', 'qdrant_edge', 'qdrant_client'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_names_are_refused() -> None:
    import semantik_pipeline.testing as testing

    with pytest.raises(AttributeError, match="FakeNothing"):
        _ = testing.FakeNothing


def test_similar_texts_have_near_vectors_and_equal_ones_equal() -> None:
    one, near, far = embed({}, "red wine and cheese", "red wine and bread", "supersonic boundary layers")
    assert one @ near > 0.5 > one @ far
    assert np.array_equal(embed({}, "red wine")[0], embed({}, "red wine", mode=EmbeddingMode.QUERY)[0])
    assert embed({"dimension": 7}, "", "?").shape == (2, 7)
    assert embed({}, "x").dtype == np.float32


def test_another_salt_gives_other_vectors_of_the_same_length() -> None:
    plain, salted = embed({}, "red wine and cheese")[0], embed({"salt": "other"}, "red wine and cheese")[0]
    assert plain.shape == salted.shape and abs(plain @ salted) < 0.9
    assert np.array_equal(embed({"salt": ""}, "red wine and cheese")[0], plain)


def test_vectors_are_the_same_in_every_process() -> None:
    code = (
        "import asyncio; from semantik_pipeline.testing.fakes import FakeEmbedder;"
        "print(asyncio.run(FakeEmbedder({'dimension': 4}).embed_texts(['red wine'])).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == embed({"dimension": 4}, "red wine").tolist()


def test_what_was_embedded_is_logged_line_by_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    config = {"log_path": str(log), "fail_on": "bad"}
    with pytest.raises(PermanentError):
        embed(config, "one", "two", "bad", "three")
    embed(config, "a query", mode=EmbeddingMode.QUERY)
    assert log.read_text().split() == [content_hash("one"), content_hash("two")]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("permanent", PermanentError),
        ("transient", TransientError),
        ("unavailable", ServiceUnavailable),
        ("bug", RuntimeError),
    ],
)
def test_it_fails_as_it_is_told(kind: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        embed({"fail_on": "bad", "fail_as": kind}, "a bad text")


def test_it_crashes_and_hangs_when_told() -> None:
    code = (
        "import asyncio, sys; from semantik_pipeline.testing.fakes import FakeEmbedder;"
        "asyncio.run(asyncio.wait_for(FakeEmbedder({sys.argv[1]: 'bad'}).embed_texts(['a bad text']), 0.2))"
    )
    crashed = subprocess.run([sys.executable, "-c", code, "crash_on"], capture_output=True)
    assert crashed.returncode == CRASH_EXIT_CODE
    hung = subprocess.run([sys.executable, "-c", code, "hang_on"], capture_output=True, text=True)
    assert "TimeoutError" in hung.stderr


def test_the_connector_enumerates_fetches_and_resumes(tmp_path: Path) -> None:
    file = tmp_path / "documents.json"
    file.write_text(json.dumps({"b": "beta", "a": "alpha"}))
    config = {"documents_file": str(file), "removed": ["z"], "checkpoint_every": 1}
    items = emitted(config)
    assert [item.unique_id for item in items if isinstance(item, DocumentReference)] == ["a", "b"]
    assert items[0] == Removal("z")
    assert items[-1] == Complete(True)
    assert [
        item.unique_id for item in emitted(config, {"since": None, "after": "a"}) if isinstance(item, DocumentReference)
    ] == ["b"]
    file.write_text(json.dumps({"a": "changed"}))
    assert emitted(config)[1].change_hint != items[1].change_hint
    document = asyncio.run(fakes.FakeConnector(config).fetch(items[1]))
    assert isinstance(document.check(), IngestedDocument)
    with pytest.raises(DocumentGone):
        asyncio.run(fakes.FakeConnector(config).fetch(DocumentReference("b")))


def test_the_connector_fails_as_it_is_told() -> None:
    documents = {"a": "x", "b": "y"}
    with pytest.raises(TransientError):
        emitted({"documents": documents, "fail_after": 1})
    assert emitted({"documents": documents, "incomplete": True})[-1] == Complete(False)
    with pytest.raises(SkipDocument):
        connector = fakes.FakeConnector({"documents": documents, "fail_fetch": {"a": "skip"}})
        asyncio.run(connector.fetch(DocumentReference("a")))


def test_parser_chunker_and_extractor_agree_on_offsets() -> None:
    parsed = fakes.FakeParser().parse(b"Title\n\nNASA and  ESA fly.\n")
    assert [parsed.text[e.start : e.end] for e in parsed.elements] == ["Title", "NASA and  ESA fly.\n"]
    chunks = fakes.FakeChunker({"words": 2}).chunk(parsed.text, ChunkConfig())
    assert [chunk.text for chunk in chunks] == ["Title\n\nNASA", "and  ESA", "fly."]
    assert all(parsed.text[c.start : c.end] == c.text for c in chunks)
    found = asyncio.run(fakes.FakeExtractor().extract(parsed.text))
    assert [parsed.text[e.start : e.end] for e in found.entities] == ["NASA", "ESA"]


@pytest.mark.parametrize(
    ("mode", "indexes"),
    [
        ("good", [1, 0, 2]),
        ("too-few", [1]),
        ("too-many", [1, 0, 2, 3, 4, 5]),
        ("duplicates", [1, 1, 0, 0, 2, 2]),
        ("out-of-range", [3, -1, 5]),
        ("nan", [1, 0, 2]),
    ],
)
def test_the_reranker_is_wrong_as_it_is_told(mode: str, indexes: list[int]) -> None:
    reranker = fakes.FakeReranker({"mode": mode})
    results = asyncio.run(reranker.rerank("red wine", ["red car", "red wine", "tea"]))
    assert [result.index for result in results] == indexes
    assert all(np.isfinite(result.score) for result in results) == (mode != "nan")


def test_memory_stores_may_share_their_indexes() -> None:
    from semantik_pipeline.testing.store_points import SPEC

    fakes.MemoryStore({"shared": "here"}).create_index("one", SPEC)
    assert fakes.MemoryStore({"shared": "here"}).list_indexes() == ["one"]
    assert fakes.MemoryStore().list_indexes() == []
