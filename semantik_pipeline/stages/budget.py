"""The last check of the token budget: a chunk that is too long is split, never cut (DESIGN, invariant 13)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from semantik_pipeline.contracts.fitting import TokenCount, split_to_fit
from semantik_pipeline.documents import Chunk


def split_to_budget(chunks: Sequence[Chunk], max_tokens: int, count_tokens: TokenCount) -> list[Chunk]:
    """Return the chunks in order, each within ``max_tokens``, numbered 0..n-1, with token counts from ``count_tokens``.

    A chunk that fits keeps its text (without white space at its ends) and its position. A chunk that is too long
    becomes several chunks. Together they hold all of its text except the white space between them. Their positions are
    exact if the chunk's text is as long as its span; otherwise each has the position of the original chunk. A chunk
    that is only white space is dropped. Only a single character may stay over the budget.
    """
    fitting: list[Chunk] = []
    pieces_of = split_to_fit([chunk.text for chunk in chunks], max_tokens, count_tokens)
    for chunk, pieces in zip(chunks, pieces_of, strict=True):
        fitting.extend(_piece(chunk, *piece) for piece in pieces)
    return [replace(chunk, ordinal=ordinal) for ordinal, chunk in enumerate(fitting)]


def _piece(chunk: Chunk, start: int, end: int, tokens: int) -> Chunk:
    exact = len(chunk.text) == chunk.end - chunk.start
    place = (chunk.start + start, chunk.start + end) if exact else (chunk.start, chunk.end)
    return replace(chunk, text=chunk.text[start:end], start=place[0], end=place[1], token_count=tokens)


class RememberedCounts:
    """A token counter with a cache, so that the chunker and the budget check do not tokenize the same text twice.

    Keep one instance per tokenizer. Call :meth:`forget` after each document, because the cache holds every counted
    text.
    """

    def __init__(self, count_tokens: TokenCount) -> None:
        self._count_tokens = count_tokens
        self._known: dict[str, int] = {}

    def __call__(self, texts: Sequence[str]) -> list[int]:
        unknown = [text for text in dict.fromkeys(texts) if text not in self._known]
        if unknown:
            self._known.update(zip(unknown, self._count_tokens(unknown), strict=True))
        return [self._known[text] for text in texts]

    def forget(self) -> None:
        self._known.clear()
