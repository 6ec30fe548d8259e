"""Adds the caller's principals to a query's filter, so that the engine returns only what is open to the caller."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from semantik_pipeline.contracts.filter_bounds import MOST_LEVELS, check_bounds
from semantik_pipeline.contracts.filters import parse_filter
from semantik_pipeline.errors import UsageError

#: The payload field with a document's principals. If it is absent, the document is open to everybody.
FIELD = "principals"


def permitted(filter: dict[str, Any] | None, principals: Collection[str] | None) -> dict[str, Any] | None:
    """Return the filter, limited to documents that are open to these principals or to everybody (None: no limit).

    Raises UsageError if ``filter`` is not a valid filter by itself: nested in another filter, it could be valid and
    have another meaning.
    """
    if principals is None:
        return filter
    parse_filter(filter)
    limit = limit_of(principals)
    return {"must": [limit, filter]} if filter else {"must": [limit]}


def limit_of(principals: Collection[str]) -> dict[str, Any]:
    """Return the condition that a document is open to one of these principals, or to everybody."""
    open_to: list[dict[str, Any]] = [{"is_empty": {"key": FIELD}}]
    if principals:
        open_to.append({"key": FIELD, "match": {"any": sorted(principals)}})
    return {"should": open_to}


def check_question(filter: dict[str, Any] | None, principals: Collection[str] | None) -> None:
    """Raise UsageError if a caller with principals filters by ``principals``: the hits would reveal to whom else
    documents are open. Raises it also for a filter that is nested too deeply to check."""
    check_bounds(filter, MOST_LEVELS)
    if principals is not None and _asks_whose(filter):
        raise UsageError("A caller with principals can't filter by `principals`.", "Leave that condition out.")


def _asks_whose(filter: Any) -> bool:
    """Return whether any condition, at any depth, has FIELD as the start of its key, in any spelling."""
    if isinstance(filter, dict):
        key = filter.get("key")
        return (isinstance(key, str) and _first(key) == FIELD) or any(map(_asks_whose, filter.values()))
    return isinstance(filter, list | tuple) and any(map(_asks_whose, filter))


def _first(path: str) -> str:
    """Return the name at the start of a path: ``principals`` for ``"principals"[]``."""
    return re.split(r"[.\[]", path, maxsplit=1)[0].strip('"')
