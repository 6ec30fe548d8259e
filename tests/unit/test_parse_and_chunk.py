"""What the child does with a chunker: asks whether it takes the text, and tells the parent how far it is."""

from __future__ import annotations

from typing import Any

import pytest

from semantik_pipeline.builtin.chunkers.recursive import RecursiveChunker
from semantik_pipeline.builtin.parsers.text import TextParser
from semantik_pipeline.contracts import ChunkingPlugin
from semantik_pipeline.documents import Chunk
from semantik_pipeline.errors import PluginError, SkipDocument
from semantik_pipeline.plugins.child_errors import rebuild
from semantik_pipeline.plugins.host import PluginHost
from semantik_pipeline.plugins.loader import LoadReport
from semantik_pipeline.plugins.registry import LoadedPlugin, PluginRegistry
from semantik_pipeline.plugins.state import PluginState
from semantik_pipeline.stages import parsing
from semantik_pipeline.stages.parsing import Chunked, ChunkRequest, parse_and_chunk
from semantik_pipeline.testing.fakes import FakeEmbedder


class Picky(ChunkingPlugin):
    """Takes what is not secret; a chunk for each line, each told."""

    PLUGIN_ID = "picky"

    def validate_content(self, content):
        return ("SECRET" not in content, "it is secret" if "SECRET" in content else None)

    def chunk(self, content, config, progress_callback=None):
        assert "SECRET" not in content, "it was asked before"
        lines = content.splitlines()
        chunks = []
        for number, line in enumerate(lines):
            start = content.index(line)
            chunks.append(Chunk(line, start, start + len(line), number, 1))
            progress_callback((number + 1) / len(lines))
        return chunks


class Listening(PluginHost):
    """As in a child whose parent lends what ``lent`` names."""

    def listen(self, *lent: str) -> list[Any]:
        self.lent, self.heard = lent, []
        return self.heard

    def service(self, name: str, *args: Any) -> Any:
        self.heard.append((name, *args))
        if name not in self.lent:
            raise PluginError(f"{name} is not lent.")
        return None


@pytest.fixture
def host():
    kinds = {TextParser: "parser", Picky: "chunking", RecursiveChunker: "chunking", FakeEmbedder: "embedding"}
    plugins = [
        LoadedPlugin(id=cls.PLUGIN_ID, kind=kind, cls=cls, manifest=cls.get_manifest(), origin="test 1", builtin=False)
        for cls, kind in kinds.items()
    ]
    host = Listening(PluginRegistry.of(plugins, {}), LoadReport(), PluginState())
    yield host
    host.close()


def request(text: str, **given: Any) -> ChunkRequest:
    usual: dict[str, Any] = {
        "content": text.encode(),
        "parsed": None,
        "parser": "text",
        "parser_options": {},
        "chunker": "picky",
        "chunker_options": {},
        "embedder": "fake-embedder",
        "embedder_options": {},
        "file_path": "a.txt",
        "media_type": "text/plain",
        "metadata": {},
    }
    return ChunkRequest(**usual | given)


def test_what_a_chunker_does_not_take_is_skipped_with_its_reason(host):
    host.listen("progress")
    refused, taken = parse_and_chunk(host, [request("a SECRET"), request("one\ntwo")])
    error = rebuild(refused)
    assert isinstance(error, SkipDocument)
    assert str(error) == "The chunker picky does not accept it: it is secret."
    assert isinstance(taken, Chunked) and [chunk.text for chunk in taken.chunks] == ["one", "two"]


def test_progress_is_told_to_who_listens(host, monkeypatch):
    monkeypatch.setattr(parsing, "TELL_SECONDS", 0)
    heard = host.listen("progress")
    parse_and_chunk(host, [request("one\ntwo")])
    assert heard == [("progress", 0.5), ("progress", 1.0)]


def test_where_nobody_listens_it_is_told_once_and_harms_nothing(host, monkeypatch):
    monkeypatch.setattr(parsing, "TELL_SECONDS", 0)
    heard = host.listen()
    [done] = parse_and_chunk(host, [request("one\ntwo")])
    assert isinstance(done, Chunked) and len(done.chunks) == 2
    assert heard == [("progress", 0.5)]


def test_a_quick_chunker_costs_no_report(host):
    heard = host.listen("progress")
    parse_and_chunk(host, [request("one\ntwo")])
    assert heard == []


def sizes(host, *, window: int, **options: int) -> list[int]:
    """The tokens (words) of the chunks that a text of 500 words in sentences of ten becomes."""
    host.listen("progress")
    text = " ".join(f"{'Word ' * 9}end." for _ in range(50))
    model = {"max_input_tokens": window}
    asked = request(text, chunker="recursive", chunker_options=options, embedder_options=model)
    (done,) = parse_and_chunk(host, [asked])
    assert isinstance(done, Chunked), rebuild(done)
    return [chunk.token_count for chunk in done.chunks]


def test_a_budget_above_the_window_gives_chunks_of_the_window(host):
    assert sizes(host, window=100, max_tokens=200, overlap_tokens=0) == [100] * 5


@pytest.mark.parametrize("budget", [1, 16, 20])
def test_a_budget_below_the_usual_overlap_and_smallest_chunk_works(host, budget):
    found = sizes(host, window=256, max_tokens=budget)
    assert max(found) <= budget and sum(found) >= 500
