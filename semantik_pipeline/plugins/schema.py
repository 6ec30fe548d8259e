"""What normalised configuration schemas say of their options."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

#: What a schema may say about its options together.
_DEMANDS = frozenset(
    ("anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "minProperties")
)


def without_demands(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """A normalised schema that takes any part of a configuration: each option given must fit, none must be there.

    What a schema says about options together (``anyOf``, ``if`` …) can only be judged once everybody has spoken.
    """
    if schema is None:
        return None
    return {**{key: value for key, value in schema.items() if key not in _DEMANDS}, "required": []}


def defaults_of(schema: dict[str, Any] | None) -> dict[str, Any]:
    """The default of each option that has one; copies."""
    properties = (schema or {}).get("properties", {})
    return {name: deepcopy(field["default"]) for name, field in properties.items() if "default" in field}


def field_of(schema: dict[str, Any] | None, name: str) -> dict[str, Any]:
    """What a normalised schema says of an option; empty if nothing."""
    field = (schema or {}).get("properties", {}).get(name, {})
    return field if isinstance(field, dict) else {}
