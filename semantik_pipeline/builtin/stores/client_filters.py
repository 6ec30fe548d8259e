"""Converts filters into qdrant-client's models, for a Qdrant server."""

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
    from qdrant_client import models


def client_filter(filter: dict[str, Any] | None, ids: list[str] | None = None) -> models.Filter | None:
    """The filter, restricted to ``ids`` if given; None if there is no restriction."""
    clauses = parse_filter(filter)
    if ids is not None:
        only = HasId(ids=tuple(ids))
        clauses = Clauses(must=(only,) if clauses is None else (only, clauses))
    return None if clauses is None else _filter(clauses)


def _filter(clauses: Clauses) -> models.Filter:
    from qdrant_client import models

    minimum = None
    if clauses.min_count:
        conditions = [_condition(c) for c in clauses.min_should]
        minimum = models.MinShould(conditions=conditions, min_count=clauses.min_count)
    return models.Filter(
        must=[_condition(c) for c in clauses.must] or None,
        should=[_condition(c) for c in clauses.should] or None,
        must_not=[_condition(c) for c in clauses.must_not] or None,
        min_should=minimum,
    )


def _condition(condition: Condition) -> Any:
    from qdrant_client import models

    match condition:
        case Match(key=key):
            return models.FieldCondition(key=key, match=_match(condition))
        case Range(key=key):
            made = models.DatetimeRange if condition.temporal else models.Range
            return models.FieldCondition(key=key, range=made(**condition.bounds))
        case ValuesCount(key=key):
            return models.FieldCondition(key=key, values_count=models.ValuesCount(**condition.bounds))
        case IsEmpty(key=key, expected=expected):
            # Not FieldCondition(is_empty=): if a path has several values, that would test whether any of them is empty.
            return _expected(models.IsEmptyCondition(is_empty=models.PayloadField(key=key)), expected)
        case IsNull(key=key, expected=expected):
            return _expected(models.IsNullCondition(is_null=models.PayloadField(key=key)), expected)
        case HasId(ids=ids):
            return models.HasIdCondition(has_id=list(ids))
        case Nested(key=key, filter=inner):
            return models.NestedCondition(nested=models.Nested(key=key, filter=_filter(inner)))
        case Clauses():
            return _filter(condition)


def _expected(condition: Any, expected: bool) -> Any:
    from qdrant_client import models

    return condition if expected else models.Filter(must_not=[condition])


def _match(condition: Match) -> Any:
    from qdrant_client import models

    operand = condition.operand
    match condition.how:
        case "value":
            return models.MatchValue(value=operand)
        case "any":
            return models.MatchAny(any=list(operand))
        case "except":
            return models.MatchExcept(**{"except": list(operand)})
        case "text":
            return models.MatchText(text=operand)
        case "text_any":
            return models.MatchTextAny(text_any=operand)
        case _:
            return models.MatchPhrase(phrase=operand)
