"""Packs segments into windows: which run of segments makes a chunk, and what it repeats of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from semantik_pipeline.builtin.chunkers.boundaries import Level
from semantik_pipeline.builtin.chunkers.segments import Segments
from semantik_pipeline.contracts import ChunkConfig
from semantik_pipeline.contracts.fitting import longest_text


@dataclass(frozen=True, slots=True)
class Window:
    """Segments ``body`` to ``end`` (exclusive) are new; ``lead`` to ``body`` are repeated.

    ``partial``: no whole segment fits the overlap, so room was left for the tail of segment ``body - 1``.
    """

    lead: int
    body: int
    end: int
    partial: bool = False


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a chunker packs. ``best_border``: end at the best border of the second half rather than at the last one.
    ``partial_lead``: the overlap may start within a segment."""

    best_border: bool = True
    partial_lead: bool = True


def pack(segments: Segments, tokens: Sequence[int], config: ChunkConfig, style: Style) -> list[Window]:
    """Windows in order, without gaps, each within the budget by the estimates ``tokens`` (each at most the budget)."""
    windows: list[Window] = []
    body = 0
    while body < len(segments):
        lead, partial = _lead(segments, tokens, windows, body, config, style)
        reserved = config.overlap_tokens if partial else sum(tokens[lead:body])
        end, at_topic = _fill(segments, tokens, lead, body, config, config.max_tokens - reserved)
        if end == body:
            lead, partial = body, False
            end, at_topic = _fill(segments, tokens, body, body, config, config.max_tokens)
        if style.best_border and not at_topic and end < len(segments):
            end = _best_end(segments, tokens, body, end)
        windows.append(Window(lead, body, end, partial))
        body = end
    return windows


def _lead(
    segments: Segments, tokens: Sequence[int], windows: list[Window], body: int, config: ChunkConfig, style: Style
) -> tuple[int, bool]:
    """Where the overlap starts, and whether it must be part of a segment. Overlap does not cross a heading."""
    if not windows or not config.overlap_tokens or segments.levels[body] >= Level.HEADING:
        return body, False
    lead, room = body, config.overlap_tokens
    while lead - 1 > windows[-1].body and tokens[lead - 1] <= room:
        lead -= 1
        room -= tokens[lead]
    return lead, lead == body and style.partial_lead


def _fill(
    segments: Segments, tokens: Sequence[int], lead: int, body: int, config: ChunkConfig, room: int
) -> tuple[int, bool]:
    """Where the window ends, and whether it ends because a topic does. It has at least one segment if there is room."""
    furthest = segments.starts[lead] + longest_text(config.max_tokens)
    total, end = 0, body
    while end < len(segments) and total + tokens[end] <= room and segments.ends[end] <= furthest:
        if end > body and segments.levels[end] >= Level.TOPIC and total >= config.min_tokens:
            return end, True
        total += tokens[end]
        end += 1
    return end, False


def _best_end(segments: Segments, tokens: Sequence[int], body: int, end: int) -> int:
    """The best border at or before ``end`` that leaves the window at least half as full; the last one of equals."""
    total = sum(tokens[body:end])
    best, left, here = end, total, end
    while here > body + 1:
        here -= 1
        left -= tokens[here]
        if 2 * left < total:
            break
        if segments.levels[here] > segments.levels[best]:
            best = here
    return best
