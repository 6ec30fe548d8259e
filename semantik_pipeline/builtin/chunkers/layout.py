"""Turns boundaries into chunks, in the same steps for all chunkers: segment, pack, measure, correct, merge."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from semantik_pipeline.builtin.chunkers.boundaries import Boundary, Level
from semantik_pipeline.builtin.chunkers.leads import starts_of
from semantik_pipeline.builtin.chunkers.merging import Piece, merge_small
from semantik_pipeline.builtin.chunkers.packing import Style, Window, pack
from semantik_pipeline.builtin.chunkers.segments import Segments, segment
from semantik_pipeline.builtin.chunkers.structure import Places
from semantik_pipeline.builtin.chunkers.word_counts import WordCounts
from semantik_pipeline.contracts import ChunkConfig
from semantik_pipeline.contracts.fitting import count_in_batches, split_to_fit
from semantik_pipeline.documents import Chunk, Element

Progress = Callable[[float], None]
_REPACKS = 2
_TOO_MANY = 0.1  # share of windows over budget above which the estimate is corrected and everything packed again


def lay_out(
    content: str,
    boundaries: Iterable[Boundary],
    elements: Sequence[Element],
    config: ChunkConfig,
    words: WordCounts,
    style: Style,
    progress: Progress | None = None,
) -> list[Chunk]:
    """The chunks of a text with known boundaries. Linear in the text, which is tokenized about once."""
    report = progress or (lambda share: None)
    segments = segment(content, boundaries, config, words, lambda share: report(0.4 * share))
    pieces = _measured(content, segments, config, style, lambda share: report(0.4 + 0.5 * share))
    pieces = merge_small(content, pieces, config)
    places = Places(content, elements)
    report(1.0)
    return [
        Chunk(content[p.start : p.end], p.start, p.end, number, p.tokens, places.metadata(p.start, p.body))
        for number, p in enumerate(pieces)
    ]


def _measured(content: str, segments: Segments, config: ChunkConfig, style: Style, report: Progress) -> list[Piece]:
    """Pack windows and count their tokens exactly; windows over budget are corrected.

    If many are over budget (for example with a tokenizer that counts white space), the estimate is scaled by the
    observed ratio and everything is packed again.
    """
    tokens: Sequence[int] = segments.tokens
    for attempt in range(_REPACKS + 1):
        windows = pack(segments, tokens, config, style)
        starts = starts_of(content, segments, tokens, windows, config)
        texts = [content[start : segments.ends[w.end - 1]] for start, w in zip(starts, windows, strict=True)]
        counts = count_in_batches(texts, config.count_tokens, report)
        over = {number for number, count in enumerate(counts) if count > config.max_tokens}
        if len(over) <= _TOO_MANY * len(windows) or attempt == _REPACKS:
            break
        ratio = sum(counts) / max(1, sum(sum(tokens[w.lead : w.end]) for w in windows))
        scale = 1.05 * max(1.0, ratio)
        tokens = [min(config.max_tokens, math.ceil(count * scale)) for count in tokens]
    return _mended(content, segments, windows, starts, counts, over, config)


def _mended(
    content: str,
    segments: Segments,
    windows: list[Window],
    starts: list[int],
    counts: list[int],
    over: set[int],
    config: ChunkConfig,
) -> list[Piece]:
    """One piece for each window. A window over budget, and the one that repeats its end, is split without overlap."""
    bodies = [segments.starts[window.body] for window in windows]
    again = sorted(
        over | {number + 1 for number in over if number + 1 < len(windows) and starts[number + 1] < bodies[number + 1]}
    )
    texts = [content[bodies[number] : segments.ends[windows[number].end - 1]] for number in again]
    parts_of = dict(zip(again, split_to_fit(texts, config.max_tokens, config.count_tokens), strict=True))
    pieces: list[Piece] = []
    for number, window in enumerate(windows):
        body, level = bodies[number], segments.levels[window.body]
        if number not in parts_of:
            pieces.append(Piece(starts[number], body, segments.ends[window.end - 1], counts[number], level))
            continue
        for first, last, count in parts_of[number]:
            pieces.append(Piece(body + first, body + first, body + last, count, level))
            level = Level.WORD
    return pieces
