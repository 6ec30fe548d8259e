"""Counts and durations of what a process has done since its start, for heartbeats and metrics.

Counting costs a microsecond and needs no library.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass, field

#: Upper bounds of the buckets for observed values: seconds or shares.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

Labels = tuple[tuple[str, str], ...]


@dataclass
class Distribution:
    """Observed values: how many are in each bucket of :data:`BUCKETS` (the last: larger ones), and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)


class Tally:
    """Counters and distributions by name and labels. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, Labels], float] = {}
        self._distributions: dict[tuple[str, Labels], Distribution] = {}

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a count."""
        key = name, tuple(sorted(labels.items()))
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + amount

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add one value to a distribution."""
        key = name, tuple(sorted(labels.items()))
        with self._lock:
            found = self._distributions.setdefault(key, Distribution())
            found.counts[bisect_left(BUCKETS, value)] += 1
            found.total += value

    def counts(self, name: str) -> dict[Labels, float]:
        """Return a counter's values by labels."""
        with self._lock:
            return {labels: value for (found, labels), value in self._counts.items() if found == name}

    def distributions(self) -> dict[tuple[str, Labels], Distribution]:
        """Return a copy of every distribution."""
        with self._lock:
            return {
                key: Distribution(counts=list(found.counts), total=found.total)
                for key, found in self._distributions.items()
            }
