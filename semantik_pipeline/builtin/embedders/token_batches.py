"""Length-sorted micro-batches under a token budget, so that little is padded and memory is bounded."""

from __future__ import annotations

from collections.abc import Sequence


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Indices in descending order of length: what is too big for the memory shows at once."""
    return sorted(range(len(lengths)), key=lambda index: -lengths[index])


def batch_end(lengths: Sequence[int], start: int, budget: int) -> int:
    """Where the batch from ``start`` ends (exclusive) in lengths sorted longest first.

    As many as fit when all are padded to the first one: ``count * lengths[start] <= budget``, but at least one.
    """
    count = max(1, budget // max(1, lengths[start]))
    return min(len(lengths), start + count)
