"""The last guard of the budget: splits what doesn't fit, loses nothing, leaves the rest alone."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.contracts.chunking import estimate_tokens
from semantik_pipeline.contracts.fitting import CHARS_PER_TOKEN, split_to_fit
from semantik_pipeline.documents import Chunk
from semantik_pipeline.stages.budget import RememberedCounts, split_to_budget
from semantik_pipeline.testing.chunkers import count_words

TOKENIZERS = [count_words, estimate_tokens, lambda texts: [len(text) for text in texts]]
texts = st.lists(
    st.one_of(
        st.text(max_size=40), st.sampled_from(["word " * 20, "x" * 99, "\u0301" * 90, "e\u0301", "漢字。", " \n " * 9])
    ),
    max_size=12,
).map("".join)


def _chunks(content, cuts):
    """Any division of a text, as a stranger's chunker may make it."""
    edges = sorted({0, len(content), *(cut for cut in cuts if cut <= len(content))})
    return [Chunk(content[a:b], a, b, 7, 0, {"page": a}) for a, b in pairwise(edges)]


@given(texts, st.lists(st.integers(0, 400), max_size=5), st.integers(1, 30), st.sampled_from(TOKENIZERS))
def test_every_chunk_fits_and_nothing_is_lost(content, cuts, max_tokens, count_tokens):
    guarded = split_to_budget(_chunks(content, cuts), max_tokens, count_tokens)
    assert [chunk.ordinal for chunk in guarded] == list(range(len(guarded)))
    assert "".join("".join(chunk.text.split()) for chunk in guarded) == "".join(content.split())
    for chunk in guarded:
        assert chunk.text == content[chunk.start : chunk.end] != ""
        assert chunk.token_count == count_tokens([chunk.text])[0]
        assert chunk.token_count <= max_tokens or len(chunk.text) == 1
    assert split_to_budget(guarded, max_tokens, count_tokens) == guarded, "a second time changes nothing"


def test_what_fits_is_left_alone_but_for_number_and_count():
    chunk = Chunk("it fits", 3, 10, 5, 99, {"section": ["A"]})
    assert split_to_budget([chunk], 10, count_words) == [Chunk("it fits", 3, 10, 0, 2, {"section": ["A"]})]


def test_a_text_that_is_not_its_span_keeps_the_place_of_its_chunk():
    """A stranger's chunker may put a heading before the text."""
    chunk = Chunk("Heading: " + "word " * 30, 100, 250, 0, 0)
    guarded = split_to_budget([chunk], 10, count_words)
    assert len(guarded) > 2
    assert {(piece.start, piece.end) for piece in guarded} == {(100, 250)}


def test_parts_end_between_words():
    parts = split_to_fit(["word " * 100], 10, count_words)[0]
    assert all(end - start == len("word " * ((end - start + 1) // 5)) - 1 for start, end, _ in parts)


def test_no_character_is_torn():
    text = "e\u0301\u0302" * 53 + "\U0001f469\u200d\U0001f469\u200d\U0001f467" * 20 + "\U0001f1e9\U0001f1ea" * 20
    parts = split_to_fit([text], 12, lambda texts: [len(text) for text in texts])[0]
    assert len(parts) > 10
    torn = "\u0301\u0302\u200d"
    assert not [
        text[start - 1 : start + 1] for start, _, _ in parts if text[start] in torn or text[start - 1] == "\u200d"
    ]


def test_a_word_that_the_tokenizer_does_not_know_is_still_divided():
    """WordPiece counts any word above 100 characters as one unknown token."""
    parts = split_to_fit(["x" * 10_000], 10, lambda texts: [1 for _ in texts])[0]
    assert all(end - start <= 10 * CHARS_PER_TOKEN for start, end, _ in parts)


def test_remembered_counts_ask_once():
    asked = []

    def count(texts):
        asked.extend(texts)
        return count_words(texts)

    remembered = RememberedCounts(count)
    assert remembered(["a", "b b", "a"]) == [1, 2, 1]
    assert remembered(["b b"]) == [2]
    assert asked == ["a", "b b"]
    remembered.forget()
    remembered(["a"])
    assert asked == ["a", "b b", "a"]
