"""What a plugin answers for one document, and no pipe or database takes, harms that document alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from tests.integration.conftest import FAKE_COLLECTION

ODD = """
import datetime, threading
from semantik_pipeline.plugins import Chunk, Element, ParsedDocument, ParserPlugin

class Parser(ParserPlugin):
    PLUGIN_ID = "odd-parser"

    def parse(self, content, *, file_path=None, media_type=None, metadata=None):
        elements = [Element(threading.Lock(), 0, 1)] if b"ELEMENT" in content else []
        return ParsedDocument(content.decode(), elements)

class Chunker:
    PLUGIN_ID = "odd-chunker"

    def chunk(self, content, config, progress_callback=None):
        odd = {"when": datetime.date(2026, 1, 1), "lock": threading.Lock()}
        return [Chunk(content, 0, len(content), 0, 2, odd if "METADATA" in content else {})]
"""


@pytest.fixture
def odd_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a parser and a chunker that are fine but for texts with ELEMENT and METADATA."""
    info = tmp_path / "site" / "odd-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[semantik.plugins]\nodd-parser = odd:Parser\nodd-chunker = odd:Chunker\n")
    (info.parent / "odd.py").write_text(ODD)
    monkeypatch.syspath_prepend(str(info.parent))


@pytest.mark.parametrize(("odd", "stage"), [("METADATA", "indexed"), ("ELEMENT", "quarantined")])
def test_an_answer_that_does_not_travel_keeps_nobody_waiting(make_pipeline, odd_plugins, odd, stage):
    pipeline = make_pipeline()
    texts = {f"t{number}": f"text {number}" for number in range(4)}
    source = SourceRequest(connector="fake-connector", name="fake", config={"documents": {**texts, "odd": odd}})
    config = {
        **FAKE_COLLECTION,
        "parsers": {"by_media_type": {"text/*": "odd-parser"}},
        "chunking": {"plugin": "odd-chunker", "options": {}},
    }
    pipeline.index(source, config=config, run=False)
    for _ in range(10):
        pipeline.hurry()
        for name in ("sync", "chunk", "embed", "upsert"):
            work_on(pipeline.runtime, name)
    assert pipeline.stages() == {**dict.fromkeys(texts, "indexed"), "odd": stage}
