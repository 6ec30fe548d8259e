"""The filter language of searches and stores: Qdrant's filter JSON, read into values.

A store translates the values. Only this module reads the JSON, so every store refuses the same filters with the same
message. The grammar is Qdrant's (https://qdrant.tech/documentation/concepts/filtering/) without geography, vectors and
slices.
"""

from __future__ import annotations

import difflib
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from semantik_pipeline.contracts.filter_bounds import MOST_AROUND, check_bounds, instant, number
from semantik_pipeline.errors import UsageError

#: ``a.b``, ``a[].b``, ``a[0]``, ``"odd key".b``
_PATH = re.compile(r'(?:[A-Za-z0-9_-]+|"[^"]+")(?:\[\d{0,9}\])*(?:\.(?:[A-Za-z0-9_-]+|"[^"]+")(?:\[\d{0,9}\])*)*')
_SURROGATE = re.compile("[\ud800-\udfff]")
_ROOT = re.compile(r'[A-Za-z0-9_-]+|"[^"]+"')
_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_BOUNDS = ("gt", "gte", "lt", "lte")
_MATCHES = ("value", "any", "except", "text", "text_any", "phrase")
_CONDITIONS = ("match", "range", "values_count", "is_empty", "is_null")
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, kw_only=True)
class Match:
    """Some value at ``key`` compares to the operand as ``how`` says.

    It equals the operand (``value``), is one of it (``any``) or none of it (``except``). Or it holds the operand's
    words: all of them (``text``), one of them (``text_any``), or all in their order (``phrase``).
    """

    key: str
    how: str
    operand: Any


@dataclass(frozen=True, kw_only=True)
class _Bounded:
    key: str
    gt: float | datetime | None = None
    gte: float | datetime | None = None
    lt: float | datetime | None = None
    lte: float | datetime | None = None

    @property
    def bounds(self) -> dict[str, Any]:
        """The given bounds by name: ``gt``, ``gte``, ``lt``, ``lte``."""
        return {name: bound for name in _BOUNDS if (bound := getattr(self, name)) is not None}


@dataclass(frozen=True, kw_only=True)
class Range(_Bounded):
    """Some value at ``key`` lies within all the given bounds: numbers, or aware datetimes."""

    @property
    def temporal(self) -> bool:
        return any(isinstance(bound, datetime) for bound in self.bounds.values())


@dataclass(frozen=True, kw_only=True)
class ValuesCount(_Bounded):
    """The number of values at ``key`` (an array's length, 1 for others, 0 for none) lies within the integer bounds."""


@dataclass(frozen=True, kw_only=True)
class IsEmpty:
    """``expected`` tells whether ``key`` must be missing, null or an empty array, or must not be."""

    key: str
    expected: bool = True


@dataclass(frozen=True, kw_only=True)
class IsNull:
    """``expected`` tells whether ``key`` must exist and be null, or an array with a null, or must not be."""

    key: str
    expected: bool = True


@dataclass(frozen=True, kw_only=True)
class HasId:
    ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Nested:
    """Some object in the array at ``key`` matches the whole filter by itself."""

    key: str
    filter: Clauses


@dataclass(frozen=True, kw_only=True)
class Clauses:
    """All of ``must``, none of ``must_not``, one of ``should`` (if there are any), ``min_count`` of ``min_should``."""

    must: tuple[Condition, ...] = ()
    should: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()
    min_should: tuple[Condition, ...] = ()
    min_count: int = 0


#: Nothing matches it. The engine treats a ``min_count`` above the number of conditions differently next to named ids.
NOTHING = Clauses(must_not=(Clauses(),))

Condition = Match | Range | ValuesCount | IsEmpty | IsNull | HasId | Nested | Clauses


def parse_filter(filter: dict[str, Any] | None, *, levels: int = MOST_AROUND) -> Clauses | None:
    """Read Qdrant's filter JSON; None stays None.

    Raises UsageError, which names the part that is wrong, and for more than that many ``levels`` of objects and lists.
    """
    check_bounds(filter, levels)
    return None if filter is None else _clauses(filter, "")


def demanded_keys(filter: dict[str, Any] | None) -> list[str]:
    """The fields in which a filter looks for values: those of its matches, ranges and counts outside ``must_not``."""
    found: list[str] = []
    left: list[Any] = [parse_filter(filter)]
    while left:
        one = left.pop(0)
        if isinstance(one, Clauses):
            left += [*one.must, *one.should, *one.min_should]
        elif isinstance(one, Match | Range | ValuesCount) and one.key not in found:
            found.append(one.key)
    return found


def is_key(given: Any) -> bool:
    """Return whether this is a path in a payload, as conditions have in ``key``."""
    return isinstance(given, str) and _PATH.fullmatch(given) is not None and _SURROGATE.search(given) is None


def root(key: str) -> str:
    """Return the top-level field where a path starts, itself a path: ``entities`` for ``entities.ORG``."""
    return _ROOT.match(key)[0]  # type: ignore[index]  # every path starts with a name


def _clauses(given: Any, at: str) -> Clauses:
    _object(given, at, ("must", "should", "must_not", "min_should"), required=0)
    minimum = given.get("min_should")
    if minimum is not None:
        _object(minimum, _in(at, "min_should"), ("conditions", "min_count"), required=2)
        if not _is_int(minimum["min_count"]) or minimum["min_count"] < 1:
            raise _wrong(_in(at, "min_should.min_count"), "expected an integer above 0", minimum["min_count"])
    read = Clauses(
        must=_conditions(given.get("must"), _in(at, "must")),
        should=_conditions(given.get("should"), _in(at, "should")),
        must_not=_conditions(given.get("must_not"), _in(at, "must_not")),
        min_should=_conditions(minimum["conditions"], _in(at, "min_should.conditions")) if minimum else (),
        min_count=minimum["min_count"] if minimum else 0,
    )
    return NOTHING if read.min_count > len(read.min_should) else read


def _conditions(given: Any, at: str) -> tuple[Condition, ...]:
    if given is None:
        return ()
    if isinstance(given, dict):
        return (_condition(given, at),)
    if not isinstance(given, list | tuple):
        raise _wrong(at, "expected a condition or a list of conditions", given)
    return tuple(_condition(item, f"{at}[{number}]") for number, item in enumerate(given))


def _condition(given: Any, at: str) -> Condition:
    if not isinstance(given, dict) or not given:
        raise _wrong(at, "expected a condition, an object such as {'key': ..., 'match': ...}", given)
    if "key" in given:
        return _field(given, at)
    for name, read in _KEYLESS.items():
        if name in given:
            _object(given, at, (name,))
            return read(given[name], _in(at, name))
    return _clauses(given, at)


def _field(given: dict[str, Any], at: str) -> Condition:
    _object(given, at, ("key", *_CONDITIONS), required=0)
    key = _path(given["key"], _in(at, "key"))
    said = [name for name in _CONDITIONS if given.get(name) is not None]
    if len(said) != 1:
        raise _wrong(at, f"expected 'key' and exactly one of {', '.join(_CONDITIONS)}", given)
    return _FIELD[said[0]](key, given[said[0]], _in(at, said[0]))


def _match(key: str, given: Any, at: str) -> Match:
    _object(given, at, _MATCHES)
    if len(given) != 1:
        raise _wrong(at, f"expected exactly one of {', '.join(_MATCHES)}", given)
    how, operand = next(iter(given.items()))
    at = _in(at, how)
    if how == "value":
        if not isinstance(operand, bool | str) and not _is_int(operand):
            raise _wrong(at, "expected a string, an integer or a boolean (a range compares other numbers)", operand)
    elif how in ("any", "except"):
        operand = _alternatives(operand, at)
    elif not isinstance(operand, str):
        raise _wrong(at, "expected a string", operand)
    return Match(key=key, how=how, operand=operand)


def _alternatives(operand: Any, at: str) -> tuple[str, ...] | tuple[int, ...]:
    listed = isinstance(operand, list | tuple)
    if not listed or not (all(isinstance(v, str) for v in operand) or all(_is_int(v) for v in operand)):
        raise _wrong(at, "expected a list of strings or a list of integers", operand)
    return tuple(operand)


def _range(key: str, given: Any, at: str) -> Range:
    _object(given, at, _BOUNDS)
    bounds = {name: _bound(value, _in(at, name)) for name, value in given.items() if value is not None}
    if len({isinstance(bound, datetime) for bound in bounds.values()}) != 1:
        raise _wrong(at, f"expected one or more of {', '.join(_BOUNDS)}: all numbers, or all dates", given)
    return Range(key=key, **bounds)


def _bound(value: Any, at: str) -> float | datetime:
    try:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return number(value) if is_number else instant(value)
    except ValueError:
        raise _wrong(
            at, "expected a finite number or a date such as 2026-01-31 or 2026-01-31T12:00:00Z", value
        ) from None


def _values_count(key: str, given: Any, at: str) -> ValuesCount:
    _object(given, at, _BOUNDS)
    bounds = {name: value for name, value in given.items() if value is not None}
    if not bounds or not all(_is_int(value) and value >= 0 for value in bounds.values()):
        raise _wrong(at, f"expected one or more of {', '.join(_BOUNDS)}, integers from 0", given)
    return ValuesCount(key=key, **bounds)


def _flag(made: Callable[..., IsEmpty | IsNull]) -> Callable[[str, Any, str], IsEmpty | IsNull]:
    def read(key: str, given: Any, at: str) -> IsEmpty | IsNull:
        if not isinstance(given, bool):
            raise _wrong(at, "expected true or false", given)
        return made(key=key, expected=given)

    return read


def _keyed(made: Callable[..., IsEmpty | IsNull]) -> Callable[[Any, str], IsEmpty | IsNull]:
    def read(given: Any, at: str) -> IsEmpty | IsNull:
        _object(given, at, ("key",))
        return made(key=_path(given["key"], _in(at, "key")))

    return read


def _has_id(given: Any, at: str) -> HasId:
    if not isinstance(given, list | tuple | set | frozenset):
        raise _wrong(at, "expected a list of point ids", given)
    try:
        return HasId(ids=tuple(_point_id(item) for item in given))
    except ValueError:
        raise _wrong(at, "expected point ids, which are UUIDs", given) from None


def _point_id(given: Any) -> str:
    if isinstance(given, str) and _UUID.fullmatch(given):  # searches name hundreds
        return given
    return str(uuid.UUID(str(given)))


def _nested(given: Any, at: str) -> Nested:
    _object(given, at, ("key", "filter"), required=2)
    inner = _clauses(given["filter"], _in(at, "filter"))
    if _names_ids(inner):
        raise _wrong(
            _in(at, "filter"),
            "expected conditions without has_id (ids belong to points, not to objects in them)",
            given,
        )
    return Nested(key=_path(given["key"], _in(at, "key")).removesuffix("[]"), filter=inner)


def _names_ids(clauses: Clauses) -> bool:
    inside = (*clauses.must, *clauses.should, *clauses.must_not, *clauses.min_should)
    return any(isinstance(c, HasId) or (isinstance(c, Clauses) and _names_ids(c)) for c in inside)


def _path(given: Any, at: str) -> str:
    if not is_key(given):
        raise _wrong(at, "expected a field such as language, metadata.author or pages[].number", given)
    return given


def _object(given: Any, at: str, allowed: tuple[str, ...], required: int = 1) -> None:
    if not isinstance(given, dict) or len(given) < required:
        raise _wrong(at, f"expected an object with {', '.join(allowed)}", given)
    for name in given:
        if name not in allowed:
            raise _unknown(str(name), at, allowed)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in _INT64


def _in(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _wrong(at: str, what: str, found: Any) -> UsageError:
    try:
        text = repr(found)
    except ValueError:  # an integer with more digits than Python prints
        text = f"a {type(found).__name__}"
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    where = at or "the top"
    return UsageError(
        f"The filter is not valid at {where}: {what}, found {shown}.", "docs/search.md describes filters."
    )


def _unknown(name: str, at: str, allowed: tuple[str, ...]) -> UsageError:
    near = difflib.get_close_matches(name, allowed, n=1)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    where = f" in {at}" if at else ""
    return UsageError(f"Unknown filter key {name!r}{where}.", f"{meant}Allowed: {', '.join(allowed)}.")


_FIELD: dict[str, Callable[[str, Any, str], Condition]] = {
    "match": _match,
    "range": _range,
    "values_count": _values_count,
    "is_empty": _flag(IsEmpty),
    "is_null": _flag(IsNull),
}
_KEYLESS: dict[str, Callable[[Any, str], Condition]] = {
    "is_empty": _keyed(IsEmpty),
    "is_null": _keyed(IsNull),
    "has_id": _has_id,
    "nested": _nested,
}
