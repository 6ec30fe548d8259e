"""Every built-in chunker keeps the contract that authors are given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from semantik_pipeline.builtin.chunkers.fixed_token import FixedTokenChunker
from semantik_pipeline.builtin.chunkers.markdown import MarkdownChunker
from semantik_pipeline.builtin.chunkers.recursive import RecursiveChunker
from semantik_pipeline.builtin.chunkers.semantic import SemanticChunker
from semantik_pipeline.builtin.chunkers.sentence import SentenceChunker
from semantik_pipeline.testing.chunkers import ChunkingContract


class TestRecursive(ChunkingContract):
    def make_plugin(self):
        return RecursiveChunker()


class TestMarkdown(ChunkingContract):
    def make_plugin(self):
        return MarkdownChunker()


class TestSentence(ChunkingContract):
    def make_plugin(self):
        return SentenceChunker()


class TestFixedToken(ChunkingContract):
    def make_plugin(self):
        return FixedTokenChunker()


class TestSemantic(ChunkingContract):
    def make_plugin(self):
        return SemanticChunker()

    def make_config(self):
        return replace(self.config, embed=lambda texts: np.array([[len(t), t.count("e"), 1] for t in texts], "float32"))
