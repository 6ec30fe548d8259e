"""The requirements for every chunker, as one check and as a test class for authors.

Subclass :class:`ChunkingContract` in your tests and give it your plugin::

    class TestMine(ChunkingContract):
        def make_plugin(self):
            return MyChunker()
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from semantik_pipeline.contracts import ChunkConfig, ChunkingPlugin
from semantik_pipeline.documents import Chunk

TEXTS = (
    "One sentence.",
    "  \n leading and trailing white space \n\t ",
    "\n\n".join(f"Paragraph {n}. It has a second sentence, and a third one follows. Here it is!" for n in range(40)),
    "# Title\n\nIntro.\n\n## Part\n\n```python\nprint('hello')\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "word " * 500,
    "x" * 3000,
    "第一句话。第二句话！第三句话？" * 40,
    "e\u0301" * 200 + " \U0001f469\u200d\U0001f680" * 50,
    "line one\r\nline two\r\n\r\nanother paragraph\x0cnext page",
)


def count_words(texts: Sequence[str]) -> list[int]:
    """A tokenizer for tests: each token is up to five characters of a word."""
    return [sum(-(-len(word) // 5) for word in text.split()) for text in texts]


def check_chunks(content: str, chunks: Sequence[Chunk], config: ChunkConfig) -> None:
    """Assert what every chunker must guarantee: order, exact offsets, no lost text, the token budget."""
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks))), "ordinals run from 0 without gaps"
    covered = 0
    for chunk in chunks:
        assert 0 <= chunk.start < chunk.end <= len(content), f"chunk {chunk.ordinal} lies outside of the text"
        assert chunk.text == content[chunk.start : chunk.end], f"chunk {chunk.ordinal}: the text is not at its offsets"
        assert chunk.text.strip(), f"chunk {chunk.ordinal} is nothing but white space"
        assert not content[covered : chunk.start].strip(), f"lost: {content[covered : chunk.start]!r}"
        covered = max(covered, chunk.end)
    assert not content[covered:].strip(), f"lost at the end: {content[covered:][:80]!r}"
    assert all(a.start < b.start for a, b in pairwise(chunks)), "starts increase"
    _check_budget(content, chunks, config)


def _check_budget(content: str, chunks: Sequence[Chunk], config: ChunkConfig) -> None:
    counts = config.count_tokens([chunk.text for chunk in chunks]) if chunks else []
    for chunk, count in zip(chunks, counts, strict=True):
        assert chunk.token_count == count, f"chunk {chunk.ordinal} says {chunk.token_count} tokens, it has {count}"
        assert count <= config.max_tokens or len(chunk.text) == 1, f"chunk {chunk.ordinal} exceeds max_tokens: {count}"
    repeated = [content[b.start : a.end] for a, b in pairwise(chunks) if b.start < a.end]
    for text, count in zip(repeated, config.count_tokens(repeated) if repeated else [], strict=True):
        assert count <= config.overlap_tokens, f"{count} tokens of overlap: {text!r}"


class ChunkingContract:
    """Tests that every chunker must pass."""

    config = ChunkConfig(max_tokens=50, min_tokens=5, overlap_tokens=8, count_tokens=count_words)

    def make_plugin(self) -> ChunkingPlugin:
        raise NotImplementedError("Return the plugin under test.")

    def make_config(self) -> ChunkConfig:
        """Override this to give the chunker more (``embed``, options)."""
        return self.config

    def test_holds_the_laws_of_chunking(self) -> None:
        config, plugin = self.make_config(), self.make_plugin()
        for text in TEXTS:
            check_chunks(text, plugin.chunk(text, config), config)

    def test_empty_text_gives_no_chunks(self) -> None:
        plugin = self.make_plugin()
        assert plugin.chunk("", self.make_config()) == []
        assert plugin.chunk(" \n\t", self.make_config()) == []

    def test_same_text_same_chunks(self) -> None:
        config = self.make_config()
        used = self.make_plugin()
        for text in TEXTS:
            first = used.chunk(text, config)
            assert first == used.chunk(text, config) == self.make_plugin().chunk(text, config)

    def test_tells_progress_from_0_to_1(self) -> None:
        shares: list[float] = []
        self.make_plugin().chunk(TEXTS[2], self.make_config(), shares.append)
        assert all(0 <= share <= 1 for share in shares)
        assert shares == sorted(shares)

    def test_says_whether_it_takes_a_text(self) -> None:
        plugin = self.make_plugin()
        assert plugin.validate_content(TEXTS[0])[0] is True
        refused, why = plugin.validate_content("")
        assert refused or why, "a text that is refused is listed with the reason"

    def test_estimates_a_number_of_chunks(self) -> None:
        plugin, config = self.make_plugin(), self.make_config()
        assert plugin.estimate_chunks(0, config) == 0
        assert plugin.estimate_chunks(10_000, config) > 0
