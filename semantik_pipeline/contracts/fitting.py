"""Makes texts fit a token budget without losing a character (DESIGN, invariant 13). For chunkers and their host."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence

from semantik_pipeline.contracts.borders import border_near

TokenCount = Callable[[Sequence[str]], list[int]]
Span = tuple[int, int]

#: A text with more characters than this for each token of its budget does not fit, however few tokens it has. WordPiece
#: turns any word of more than 100 characters into one unknown token, so a megabyte of base64 would pass as one chunk.
CHARS_PER_TOKEN = 64

_BATCH_TEXTS, _BATCH_CHARS = 4096, 500_000  # limits what a tokenizer holds at once to about 100 MB
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def longest_text(max_tokens: int) -> int:
    """Return the most characters that a text of this budget may have."""
    return CHARS_PER_TOKEN * max_tokens


def count_in_batches(
    texts: Sequence[str], count_tokens: TokenCount, progress: Callable[[float], None] | None = None
) -> list[int]:
    """Count the tokens of each text in few calls of bounded size.

    Lone surrogates, which no tokenizer accepts, count as U+FFFD.
    """
    counts: list[int] = []
    for batch in _batches(texts):
        counts.extend(count_tokens(_encodable(batch)))
        if progress is not None:
            progress(len(counts) / len(texts))
    return counts


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    chars = 0
    for text in texts:
        if batch and (len(batch) >= _BATCH_TEXTS or chars + len(text) > _BATCH_CHARS):
            yield batch
            batch, chars = [], 0
        batch.append(text)
        chars += len(text)
    if batch:
        yield batch


def _encodable(texts: list[str]) -> list[str]:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return [_LONE_SURROGATE.sub("\ufffd", text) for text in texts]
    return texts


def split_to_fit(
    texts: Sequence[str], max_tokens: int, count_tokens: TokenCount, aim: int | None = None
) -> list[list[tuple[int, int, int]]]:
    """Return for each text the pieces ``(start, end, tokens)`` that fit ``max_tokens`` and cover all but white space.

    A text that fits is one piece. Others are cut into equal parts of about ``aim`` tokens, at white space if there is
    any. By default there are as few parts as the budget allows. Only a single character may exceed the budget.
    """
    found: list[list[tuple[int, int, int]]] = [[] for _ in texts]
    waiting = [(owner, *trimmed(text, 0, len(text))) for owner, text in enumerate(texts)]
    while waiting:
        waiting = [piece for piece in waiting if piece[1] < piece[2]]
        counts = _counts_of(texts, waiting, max_tokens, count_tokens)
        too_long: list[tuple[int, int, int]] = []
        for (owner, start, end), tokens in zip(waiting, counts, strict=True):
            size = end - start
            if size == 1 or tokens <= max_tokens:
                found[owner].append((start, end, tokens))
                continue
            parts = max(2, math.ceil(tokens / (aim or max_tokens)), math.ceil(size / longest_text(max_tokens)))
            too_long.extend((owner, *part) for part in _equal_parts(texts[owner], start, end, parts))
        waiting = too_long
    for pieces in found:
        pieces.sort()
    return found


def _counts_of(
    texts: Sequence[str], pieces: list[tuple[int, int, int]], max_tokens: int, count_tokens: TokenCount
) -> list[int]:
    """Count the tokens of the pieces.

    A piece with too many characters is not tokenised. It counts as one token for four characters, which is always above
    the budget.
    """
    limit = longest_text(max_tokens)
    read = [texts[owner][start:end] for owner, start, end in pieces if end - start <= limit]
    counts = iter(count_in_batches(read, count_tokens))
    return [next(counts) if end - start <= limit else (end - start) // 4 for _, start, end in pieces]


def _equal_parts(text: str, start: int, end: int, parts: int) -> Iterator[Span]:
    parts = min(parts, end - start)
    low = start
    for number in range(1, parts):
        wanted = start + (end - start) * number // parts
        if not low < wanted < end:
            continue
        cut = border_near(text, low, wanted, end)
        yield trimmed(text, low, cut)
        low = cut
    yield trimmed(text, low, end)


def trimmed(text: str, start: int, end: int) -> Span:
    """Return the span without the white space at its ends; an empty one if there is nothing else."""
    piece = text[start:end]
    bare = piece.lstrip()
    start += len(piece) - len(bare)
    return start, start + len(bare.rstrip())
