"""One JSON line for each thing that happens to a plugin, to the logger ``semantik.audit``.

``{"at", "event", "plugin", "outcome", "reason", "revision"}``; event is load, enable, disable, configure or health.
A reason never carries a secret: whoever calls :func:`record` has scrubbed it.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

LOGGER = logging.getLogger("semantik.audit")
LOGGER.addHandler(logging.NullHandler())  # where nobody asked for it, warnings don't spill on standard error

#: Outcomes that an operator should see without asking for detail.
_LOUD = {"failed", "conflict", "refused", "unhealthy"}


def record(event: str, plugin: str, outcome: str, reason: str | None = None, revision: int | None = None) -> None:
    """Write the line; ``failed``, ``conflict``, ``refused`` and ``unhealthy`` as warnings, the rest as information."""
    line = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event,
        "plugin": plugin,
        "outcome": outcome,
        "reason": reason,
        "revision": revision,
    }
    LOGGER.log(logging.WARNING if outcome in _LOUD else logging.INFO, json.dumps(line, ensure_ascii=False))
