"""Whether an index holds what the ledger says is in it. A folder that was wiped is empty, and looks like "nothing found".

Two counts, no comparison point by point: cheap enough for the first search of a process, not for each one. `verify`
looks closely.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime

#: Seconds until an index that lacked something is counted again.
AGAIN = 5.0


@dataclass(frozen=True, kw_only=True)
class Shortfall:
    """An index holds ``found`` points, and at least ``expected`` should be in it."""

    found: int
    expected: int

    def told(self, collection: str) -> str:
        return (
            f"the index of {collection!r} holds {self.found:,} of {self.expected:,} points:"
            " `semantik verify --repair` restores the others"
        )


def shortfall(runtime: Runtime, generation_id: int) -> Shortfall | None:
    """What the generation's index lacks now; None if it lacks nothing.

    Only documents that are at rest count, so documents on their way are no reason to complain.
    """
    expected = runtime.ledger.points_at_rest(generation_id)
    index = runtime.existing_index(runtime.generation(generation_id)) if expected else None
    found = runtime.host.call(runtime.store.count, index) if index else 0
    return Shortfall(found=found, expected=expected) if found < expected else None


class Completeness:
    """What is known of the indexes of this process: each is counted once, and again while it lacks something."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, Shortfall | None]] = {}

    def warnings(self, runtime: Runtime, view: SearchView) -> list[str]:
        """A sentence if the index that the view reads lacks points."""
        counted, lacking = self._known.get(view.generation_id, (float("-inf"), None))
        if counted == float("-inf") or (lacking and time.monotonic() - counted > AGAIN):
            lacking = shortfall(runtime, view.generation_id)
            self._known[view.generation_id] = (time.monotonic(), lacking)
        return [lacking.told(view.collection)] if lacking else []

    def forget(self, generation_id: int) -> None:
        """The generation is gone."""
        self._known.pop(generation_id, None)
