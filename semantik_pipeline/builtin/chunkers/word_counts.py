"""Estimates the tokens of many texts by counting each distinct word once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from semantik_pipeline.contracts.fitting import TokenCount, count_in_batches

_MOST_WORDS, _MOST_CHARS = 200_000, 8_000_000


class WordCounts:
    """Estimates a text's tokens as the sum over its words; each distinct word is tokenized once.

    The estimate is exact for tokenizers that split at white space first (BERT's WordPiece) and close for others; packed
    chunks are counted as a whole afterwards. Counts are kept between documents while the tokenizer stays the same:
    tokenizing takes 0.6 ms for 200 tokens, looking their words up a fifteenth of that.
    """

    def __init__(self) -> None:
        self._count_tokens: TokenCount | None = None
        self._known: dict[str, int] = {}
        self._chars = 0

    def use(self, count_tokens: TokenCount) -> None:
        """Count with this function from now on. Counts made by a different function are discarded."""
        if self._count_tokens != count_tokens:
            self._forget()
            self._count_tokens = count_tokens

    def _forget(self) -> None:
        self._known, self._chars = {}, 0

    def estimate(self, texts: Sequence[str]) -> list[int]:
        """About how many tokens each text has. Pass some thousand texts at a time. Call :meth:`use` first."""
        assert self._count_tokens is not None
        if len(self._known) > _MOST_WORDS or self._chars > _MOST_CHARS:
            self._forget()
        words = [text.split() for text in texts]
        known = self._known
        new = list(set(chain.from_iterable(words)).difference(known))
        known.update(zip(new, count_in_batches(new, self._count_tokens), strict=True))
        self._chars += sum(map(len, new))
        return [sum(map(known.__getitem__, own)) for own in words]
