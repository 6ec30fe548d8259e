"""A caller's principals as a part of the query: the engine gives back nothing that is closed to the caller."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from semantik_pipeline.contracts.filters import parse_filter

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
    open_to: list[dict[str, Any]] = [{"is_empty": {"key": FIELD}}]
    if principals:
        open_to.append({"key": FIELD, "match": {"any": sorted(principals)}})
    limit = {"should": open_to}
    return {"must": [limit, filter]} if filter else {"must": [limit]}
