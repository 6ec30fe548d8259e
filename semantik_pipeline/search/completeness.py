"""Detects an index that holds fewer points than the ledger says. Without this check, a search in an index folder that
was wiped looks like "nothing found".

It compares two counts. That is cheap enough for the first search of a process, but not for every search. `verify`
compares point by point.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime

#: Seconds until an index that lacked points is counted again.
AGAIN = 5.0


@dataclass(frozen=True, kw_only=True)
class Shortfall:
    """An index holds ``found`` points and should hold at least ``expected``."""

    found: int
    expected: int

    def told(self, collection: str) -> str:
        return (
            f"the index of {collection!r} holds {self.found:,} of {self.expected:,} points:"
            " `semantik verify --repair` restores the others"
        )


def shortfall(runtime: Runtime, generation_id: int) -> Shortfall | None:
    """Count the points of the generation's index now. Returns None if it has at least the expected number.

    Only documents at rest are expected, so documents that are being processed cause no warning.
    """
    expected = runtime.ledger.points_at_rest(generation_id)
    index = runtime.existing_index(runtime.generation(generation_id)) if expected else None
    found = runtime.host.call(runtime.store.count, index) if index else 0
    return Shortfall(found=found, expected=expected) if found < expected else None


class Completeness:
    """A process's counts of its indexes. Each index is counted once, and again while it lacks points."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, Shortfall | None]] = {}

    def warnings(self, runtime: Runtime, view: SearchView) -> list[str]:
        """Return a warning if the view's index lacks points, else an empty list."""
        counted, lacking = self._known.get(view.generation_id, (float("-inf"), None))
        if counted == float("-inf") or (lacking and time.monotonic() - counted > AGAIN):
            lacking = shortfall(runtime, view.generation_id)
            self._known[view.generation_id] = (time.monotonic(), lacking)
        return [lacking.told(view.collection)] if lacking else []

    def forget(self, generation_id: int) -> None:
        """Forget a generation that no longer exists."""
        self._known.pop(generation_id, None)
