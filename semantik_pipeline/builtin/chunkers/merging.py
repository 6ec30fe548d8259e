"""Merges chunks below ``min_tokens`` with a neighbour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from semantik_pipeline.contracts import ChunkConfig
from semantik_pipeline.contracts.fitting import count_in_batches, longest_text


@dataclass(frozen=True, slots=True)
class Piece:
    """A future chunk: its offsets, where its own text starts (after the overlap), its tokens, the border before it."""

    start: int
    body: int
    end: int
    tokens: int
    level: int


def merge_small(content: str, pieces: list[Piece], config: ChunkConfig) -> list[Piece]:
    """Merge pieces until none below ``min_tokens`` fits the budget together with a neighbour.

    Each round counts disjoint pairs in one batch; rejected pairs are not counted again.
    """
    refused: set[tuple[int, int]] = set()
    while pairs := list(_pairs(pieces, config, refused)):
        spans = [(pieces[first].start, pieces[first + 1].end) for first in pairs]
        counts = count_in_batches([content[start:end] for start, end in spans], config.count_tokens)
        accepted = {}
        for first, span, count in zip(pairs, spans, counts, strict=True):
            if count <= config.max_tokens:
                accepted[first] = count
            else:
                refused.add(span)
        pieces = _joined(pieces, accepted)
    return pieces


def _pairs(pieces: list[Piece], config: ChunkConfig, refused: set[tuple[int, int]]) -> Iterator[int]:
    """First members of pairs to try: each small piece with the neighbour across the weaker border, if it is free."""
    taken = -1  # the last piece that belongs to a pair
    for number, piece in enumerate(pieces):
        if piece.tokens >= config.min_tokens or number <= taken:
            continue
        for first in _neighbours(pieces, number):
            span = (pieces[first].start, pieces[first + 1].end)
            fits = span[1] - span[0] <= longest_text(config.max_tokens)
            if first > taken and fits and span not in refused:
                taken = first + 1
                yield first
                break


def _neighbours(pieces: list[Piece], number: int) -> list[int]:
    before = [number - 1] if number > 0 else []
    after = [number] if number + 1 < len(pieces) else []
    if before and after and pieces[number + 1].level < pieces[number].level:
        return after + before
    return before + after


def _joined(pieces: list[Piece], accepted: dict[int, int]) -> list[Piece]:
    joined: list[Piece] = []
    for number, piece in enumerate(pieces):
        if number - 1 in accepted:
            first = joined[-1]
            joined[-1] = Piece(first.start, first.body, piece.end, accepted[number - 1], first.level)
        else:
            joined.append(piece)
    return joined
