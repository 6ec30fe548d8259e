"""Reads properties of options from normalized configuration schemas."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

#: Keywords with which a schema constrains several options together.
_DEMANDS = frozenset(
    ("anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "minProperties")
)


def without_demands(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a schema that accepts any part of a configuration: each given option must be valid, none is required.

    Constraints on several options together (``anyOf``, ``if`` ...) are removed, because they can only be checked on
    the complete configuration.
    """
    if schema is None:
        return None
    return {**{key: value for key, value in schema.items() if key not in _DEMANDS}, "required": []}


def defaults_of(schema: dict[str, Any] | None) -> dict[str, Any]:
    """Return a copy of the default of each option that has one."""
    properties = (schema or {}).get("properties", {})
    return {name: deepcopy(field["default"]) for name, field in properties.items() if "default" in field}


def field_of(schema: dict[str, Any] | None, name: str) -> dict[str, Any]:
    """Return the schema of one option; empty if the schema does not declare it."""
    field = (schema or {}).get("properties", {}).get(name, {})
    return field if isinstance(field, dict) else {}
