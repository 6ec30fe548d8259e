"""The meaning of a filter, in plain Python: for the documents of the ledger, and as the reference for stores.

It agrees with Qdrant 1.17 on fields without a payload index. A typed index makes no difference if a field's values have
the type of its index.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from semantik_pipeline.contracts.filters import (
    Clauses,
    Condition,
    HasId,
    IsEmpty,
    IsNull,
    Match,
    Nested,
    Range,
    ValuesCount,
)

_STEP = re.compile(r'"([^"]+)"|\[(\d*)\]|([A-Za-z0-9_-]+)')
_TOKEN = re.compile(r"[^\W_]+")
_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}


def matches(clauses: Clauses | None, point_id: str | None, payload: dict[str, Any]) -> bool:
    """Return whether a point matches the filter; None matches all. ``point_id`` None: an object within a payload."""
    if clauses is None:
        return True

    def met(condition: Condition) -> bool:
        return _meets(condition, point_id, payload)

    return (
        all(met(c) for c in clauses.must)
        and not any(met(c) for c in clauses.must_not)
        and (not clauses.should or any(met(c) for c in clauses.should))
        and sum(met(c) for c in clauses.min_should) >= clauses.min_count
    )


def _meets(condition: Condition, point_id: str | None, payload: dict[str, Any]) -> bool:
    match condition:
        case Clauses():
            return matches(condition, point_id, payload)
        case HasId(ids=ids):
            return point_id in ids
        case Match(key=key):
            return any(_matches_value(condition, value) for value in _flat(payload, key))
        case Range(key=key):
            return any(_in_range(condition, value) for value in _flat(payload, key))
        case ValuesCount(key=key):
            return any(_bounded(condition, _size(value)) for value in values_at(payload, key) or [None])
        case IsEmpty(key=key, expected=expected):
            return all(value is None or value == [] for value in values_at(payload, key)) == expected
        case IsNull(key=key, expected=expected):
            return any(value is None or _holds_null(value) for value in values_at(payload, key)) == expected
        case Nested(key=key, filter=inner):
            arrays = [value for value in values_at(payload, key) if isinstance(value, list)]
            objects = [item for array in arrays for item in array if isinstance(item, dict)]
            return any(matches(inner, None, item) for item in objects)


def values_at(payload: dict[str, Any], path: str) -> list[Any]:
    """Return the values that a path selects: arrays whole, and with ``[]`` an array's items.

    Empty if there are none.
    """
    found: list[Any] = [payload]
    for quoted, index, plain in _STEP.findall(path):
        if quoted or plain:
            name = quoted or plain
            found = [value[name] for value in found if isinstance(value, dict) and name in value]
        elif index:
            at = int(index)
            found = [value[at] for value in found if isinstance(value, list) and at < len(value)]
        else:
            found = [item for value in found if isinstance(value, list) for item in value]
    return found


def _flat(payload: dict[str, Any], path: str) -> list[Any]:
    values = values_at(payload, path)
    return [item for value in values for item in (value if isinstance(value, list) else [value])]


def _matches_value(condition: Match, value: Any) -> bool:
    operand = condition.operand
    match condition.how:
        case "value":
            return _same(value, operand)
        case "any":
            return any(_same(value, one) for one in operand)
        case "except":
            return value is not None and not any(_same(value, one) for one in operand)
    if not isinstance(value, str):
        return False
    words, asked = _tokens(value), _tokens(operand)
    match condition.how:
        case "text":
            return bool(asked) and set(asked) <= set(words)
        case "text_any":
            return bool(set(asked) & set(words))
        case _:
            spans = range(len(words) - len(asked) + 1)
            return bool(asked) and any(words[at : at + len(asked)] == asked for at in spans)


def _same(value: Any, operand: Any) -> bool:
    return type(value) is type(operand) and value == operand


def _tokens(text: str) -> list[str]:
    return [token.lower() for token in _TOKEN.findall(text)]


def _in_range(condition: Range, value: Any) -> bool:
    if condition.temporal:
        instant = _instant(value)
        return instant is not None and _bounded(condition, instant)
    return isinstance(value, int | float) and not isinstance(value, bool) and _bounded(condition, value)


def _instant(value: Any) -> datetime | None:
    try:
        instant = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return instant.replace(tzinfo=instant.tzinfo or UTC)


def _bounded(condition: Range | ValuesCount, value: Any) -> bool:
    return all(_HOLDS[name](value, bound) for name, bound in condition.bounds.items())


def _size(value: Any) -> int:
    if isinstance(value, list):
        return len(value)
    return 0 if value is None else 1


def _holds_null(value: Any) -> bool:
    return isinstance(value, list) and any(item is None for item in value)
