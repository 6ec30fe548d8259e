"""A caller's principals as a part of the query: the engine gives back nothing that is closed to the caller."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from semantik_pipeline.contracts.filter_bounds import MOST_LEVELS, check_bounds
from semantik_pipeline.contracts.filters import parse_filter
from semantik_pipeline.errors import UsageError

#: The payload's field. Absent: open to everybody.
FIELD = "principals"


def permitted(filter: dict[str, Any] | None, principals: Collection[str] | None) -> dict[str, Any] | None:
    """The filter, limited to documents that are open to these principals or to everybody (None: no limit).

    Both must be met, whatever the filter says. Raises UsageError for what is no filter: inside another one it might mean
    something.
    """
    if principals is None:
        return filter
    parse_filter(filter)
    limit = limit_of(principals)
    return {"must": [limit, filter]} if filter else {"must": [limit]}


def limit_of(principals: Collection[str]) -> dict[str, Any]:
    """The condition that a document is open to one of these principals, or to everybody."""
    open_to: list[dict[str, Any]] = [{"is_empty": {"key": FIELD}}]
    if principals:
        open_to.append({"key": FIELD, "match": {"any": sorted(principals)}})
    return {"should": open_to}


def check_question(filter: dict[str, Any] | None, principals: Collection[str] | None) -> None:
    """Raise UsageError for a filter of a limited caller that asks whom documents are open to: its answer would tell who
    else finds them. And for one that is too deep to look into."""
    check_bounds(filter, MOST_LEVELS)
    if principals is not None and _asks_whose(filter):
        raise UsageError("A caller with principals can't filter by `principals`.", "Leave that condition out.")


def _asks_whose(filter: Any) -> bool:
    """Whether any condition of the filter, however deep, has the field as its key, in whatever spelling."""
    if isinstance(filter, dict):
        key = filter.get("key")
        return (isinstance(key, str) and _first(key) == FIELD) or any(map(_asks_whose, filter.values()))
    return isinstance(filter, list | tuple) and any(map(_asks_whose, filter))


def _first(path: str) -> str:
    """The name that a path begins with: ``"principals"[]`` says ``principals``."""
    return re.split(r"[.\[]", path, maxsplit=1)[0].strip('"')
