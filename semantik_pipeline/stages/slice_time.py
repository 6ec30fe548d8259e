"""How long a slice of a source goes on although other sources wait."""

from __future__ import annotations

import time

#: A slice keeps its source for ALONE seconds, or STARTS times the duration of its start (up to the first event),
#: whichever is longer, even if others wait: resuming a source has a cost too, and shorter slices would do nothing else.
ALONE, STARTS = 0.25, 5


def alone_until(taken: float) -> float:
    """Return until when a slice, taken at ``taken`` and now at its first event, does not yield to waiting sources."""
    began = time.monotonic()
    return began + max(ALONE, STARTS * (began - taken))
