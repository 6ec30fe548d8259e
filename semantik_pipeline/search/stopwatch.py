"""Measures the steps of a search."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Milliseconds by step. ``timings_ms`` adds ``total``, the time since the stopwatch was created."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._steps: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._steps[name] = self._steps.get(name, 0.0) + _milliseconds(start)

    def timings_ms(self) -> dict[str, float]:
        return {**self._steps, "total": _milliseconds(self._start)}


def _milliseconds(since: float) -> float:
    return round((time.perf_counter() - since) * 1000, 2)
