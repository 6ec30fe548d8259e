"""Computes the exact start of each window: its overlap is measured and kept within ``overlap_tokens``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from semantik_pipeline.builtin.chunkers.packing import Window
from semantik_pipeline.builtin.chunkers.segments import Segments
from semantik_pipeline.contracts import ChunkConfig
from semantik_pipeline.contracts.borders import border_near
from semantik_pipeline.contracts.fitting import count_in_batches

_TRIES = 3
_WORD_START = re.compile(r"\s\S")


def starts_of(
    content: str, segments: Segments, tokens: Sequence[int], windows: list[Window], config: ChunkConfig
) -> list[int]:
    """Where each window starts. An overlap that is too long is shortened up to three times, then dropped."""
    starts = [segments.starts[window.lead] for window in windows]
    waiting = []
    for number, window in enumerate(windows):
        if window.partial:
            starts[number] = _tail(content, segments, tokens, window.body - 1, config.overlap_tokens)
        if starts[number] < segments.starts[window.body]:
            waiting.append(number)
    for _ in range(_TRIES):
        spans = [(starts[number], segments.ends[windows[number].body - 1]) for number in waiting]
        counts = count_in_batches([content[start:end] for start, end in spans], config.count_tokens)
        over = [
            (number, span)
            for number, span, count in zip(waiting, spans, counts, strict=True)
            if count > config.overlap_tokens
        ]
        for number, (start, end) in over:
            starts[number] = _word_start(content, start + 1 + (end - start) * 2 // 5, end)
        waiting = [number for number, (_, end) in over if starts[number] < end]
    for number in waiting:
        starts[number] = segments.starts[windows[number].body]
    return [min(start, segments.starts[window.body]) for start, window in zip(starts, windows, strict=True)]


def _tail(content: str, segments: Segments, tokens: Sequence[int], index: int, overlap: int) -> int:
    """The approximate start of the last ``overlap`` tokens of a segment."""
    start, end = segments.starts[index], segments.ends[index]
    share = min(0.9, 0.9 * overlap / max(1, tokens[index]))
    return _word_start(content, max(start + 1, end - int((end - start) * share)), end)


def _word_start(content: str, wanted: int, end: int) -> int:
    """The start of the next word, or in scripts without spaces a border between characters; ``end`` if none exists."""
    found = _WORD_START.search(content, wanted - 1, end)
    if found:
        return found.end() - 1
    return border_near(content, wanted - 1, wanted, end) if wanted < end and not content[wanted:end].isascii() else end
