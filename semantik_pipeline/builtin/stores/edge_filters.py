"""Converts filters into Qdrant Edge's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    parse_filter,
)

if TYPE_CHECKING:
    import qdrant_edge


def edge_filter(filter: dict[str, Any] | None, ids: list[str] | None = None) -> qdrant_edge.Filter | None:
    """The filter, restricted to ``ids`` if given; None if there is no restriction."""
    clauses = parse_filter(filter)
    if ids is not None:
        only = HasId(ids=tuple(ids))
        clauses = Clauses(must=(only,) if clauses is None else (only, clauses))
    return filter_of(clauses)


def filter_of(clauses: Clauses | None) -> qdrant_edge.Filter | None:
    """The filter for these clauses; None if there is no restriction."""
    return None if clauses is None else _filter(clauses)


def only_ids(clauses: Clauses | None) -> list[str] | None:
    """The ids, each once, if having one of them is the only condition; otherwise None."""
    match clauses:
        case Clauses(must=(HasId(ids=ids),), should=(), must_not=(), min_count=0):
            return list(dict.fromkeys(ids))
    return None


def _filter(clauses: Clauses) -> qdrant_edge.Filter:
    import qdrant_edge as edge

    minimum = None
    if clauses.min_count:
        minimum = edge.MinShould([_condition(c) for c in clauses.min_should], clauses.min_count)
    return edge.Filter(
        must=[_condition(c) for c in clauses.must] or None,
        should=[_condition(c) for c in clauses.should] or None,
        must_not=[_condition(c) for c in clauses.must_not] or None,
        min_should=minimum,
    )


def _condition(condition: Condition) -> Any:
    import qdrant_edge as edge

    match condition:
        case Match(key=key):
            return edge.FieldCondition(key, match=_match(condition))
        case Range(key=key):
            return edge.FieldCondition(key, range=_range(condition))
        case ValuesCount(key=key):
            return edge.FieldCondition(key, values_count=edge.ValuesCount(**condition.bounds))
        case IsEmpty(key=key, expected=expected):
            # Not FieldCondition(is_empty=): if a path has several values, that would test whether any of them is empty.
            return _expected(edge.IsEmptyCondition(key), expected)
        case IsNull(key=key, expected=expected):
            return _expected(edge.IsNullCondition(key), expected)
        case HasId(ids=ids):
            return edge.HasIdCondition(set(ids))
        case Nested(key=key, filter=inner):
            return edge.NestedCondition(key, _filter(inner))
        case Clauses():
            return _filter(condition)


def _expected(condition: Any, expected: bool) -> Any:
    import qdrant_edge as edge

    return condition if expected else edge.Filter(must_not=[condition])


def _match(condition: Match) -> Any:
    import numpy as np
    import qdrant_edge as edge

    operand = condition.operand
    match condition.how:
        case "value":
            # Edge 0.9 treats Python's True as the integer 1; only NumPy's stays a boolean.
            value: Any = np.bool_(operand) if isinstance(operand, bool) else operand
            return edge.MatchValue(value)
        case "any":
            return edge.MatchAny(list(operand))
        case "except":
            return edge.MatchExcept(list(operand))
        case "text":
            return edge.MatchText(operand)
        case "text_any":
            return edge.MatchTextAny(operand)
        case _:
            return edge.MatchPhrase(operand)


def _range(condition: Range) -> Any:
    import qdrant_edge as edge

    if condition.temporal:
        return edge.RangeDateTime(**{name: instant.isoformat() for name, instant in condition.bounds.items()})
    return edge.RangeFloat(**condition.bounds)
