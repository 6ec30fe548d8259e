"""A text as a sequence of segments: small pieces within the budget, from which chunks are packed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from semantik_pipeline.builtin.chunkers.boundaries import Boundary, Level
from semantik_pipeline.builtin.chunkers.word_counts import WordCounts
from semantik_pipeline.contracts import ChunkConfig
from semantik_pipeline.contracts.fitting import longest_text, split_to_fit, trimmed

_AT_ONCE = 20_000  # segments that are counted together
_FINENESS = 8  # an oversized segment is divided into parts of an eighth of the budget, so that they pack well


@dataclass(frozen=True)
class Segments:
    """Stored in columns, because a book has a hundred thousand segments: offsets without white space at the ends,
    estimated tokens, and how good the border before each one is."""

    starts: array = field(default_factory=lambda: array("q"))
    ends: array = field(default_factory=lambda: array("q"))
    tokens: array = field(default_factory=lambda: array("q"))
    levels: bytearray = field(default_factory=bytearray)

    def __len__(self) -> int:
        return len(self.starts)

    def append(self, start: int, end: int, tokens: int, level: int) -> None:
        self.starts.append(start)
        self.ends.append(end)
        self.tokens.append(tokens)
        self.levels.append(level)


def segment(
    content: str,
    boundaries: Iterable[Boundary],
    config: ChunkConfig,
    words: WordCounts,
    progress: Callable[[float], None] = lambda share: None,
) -> Segments:
    """The text between the boundaries. A piece that exceeds the budget by itself is divided at words or characters."""
    words.use(config.count_tokens)
    segments = Segments()
    pieces = _pieces(content, boundaries)
    while batch := list(islice(pieces, _AT_ONCE)):
        _count_into(segments, content, batch, config, words)
        progress(batch[-1][1] / len(content))
    return segments


def _pieces(content: str, boundaries: Iterable[Boundary]) -> Iterator[tuple[int, int, int]]:
    """``(start, end, level)`` of the text between boundaries, without white space."""
    start, level = 0, int(Level.TOPIC)
    for place, next_level in _with_end(boundaries, len(content)):
        first, last = trimmed(content, start, place)
        if first < last:
            yield first, last, level
            level = int(next_level)
        else:
            level = max(level, next_level)
        start = place


def _with_end(boundaries: Iterable[Boundary], end: int) -> Iterator[Boundary]:
    last = 0
    for place, level in boundaries:
        if last <= place < end:
            yield place, level
            last = place
    yield end, Level.TOPIC


def _count_into(
    segments: Segments, content: str, batch: list[tuple[int, int, int]], config: ChunkConfig, words: WordCounts
) -> None:
    limit = longest_text(config.max_tokens)
    texts = [content[start:end] if end - start <= limit else "" for start, end, _ in batch]
    counts = words.estimate(texts)
    too_long = [
        piece for piece, tokens in zip(batch, counts, strict=True) if _exceeds(piece, tokens, limit, config.max_tokens)
    ]
    parts_of = dict(zip(too_long, _divided(content, too_long, config), strict=True))
    for piece, tokens in zip(batch, counts, strict=True):
        if piece in parts_of:
            start, _, level = piece
            for first, last, part_tokens in parts_of[piece]:
                segments.append(start + first, start + last, min(part_tokens, config.max_tokens), level)
                level = Level.WORD
        else:
            segments.append(piece[0], piece[1], tokens, piece[2])


def _exceeds(piece: tuple[int, int, int], tokens: int, limit: int, max_tokens: int) -> bool:
    return tokens > max_tokens or piece[1] - piece[0] > limit


def _divided(content: str, pieces: list[tuple[int, int, int]], config: ChunkConfig) -> list[list[tuple[int, int, int]]]:
    aim = max(1, config.max_tokens // _FINENESS)
    return split_to_fit([content[s:e] for s, e, _ in pieces], config.max_tokens, config.count_tokens, aim)
