"""Writes one JSON line to the logger ``semantik.audit`` for each event of a plugin.

The line is ``{"at", "event", "plugin", "outcome", "reason", "revision"}``; ``event`` is load, enable, disable,
configure or health. The caller of :func:`record` must scrub secrets from ``reason`` first.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

LOGGER = logging.getLogger("semantik.audit")
LOGGER.addHandler(logging.NullHandler())  # without a configured handler, warnings would be printed to standard error

#: Outcomes that are logged as warnings, so that an operator sees them at the default log level.
_LOUD = {"failed", "conflict", "refused", "unhealthy"}


def record(event: str, plugin: str, outcome: str, reason: str | None = None, revision: int | None = None) -> None:
    """Write the line: ``failed``, ``conflict``, ``refused`` and ``unhealthy`` as warnings, other outcomes as info."""
    line = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event,
        "plugin": plugin,
        "outcome": outcome,
        "reason": reason,
        "revision": revision,
    }
    LOGGER.log(logging.WARNING if outcome in _LOUD else logging.INFO, json.dumps(line, ensure_ascii=False))
