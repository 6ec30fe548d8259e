"""The configuration schema of a plugin.

Authors write JSON Schema or a flat map of fields; the host reads JSON Schema.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

#: Field types that people write, and what JSON Schema calls them.
_TYPE_NAMES = {
    "str": "string",
    "text": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}
_SCHEMA_KEYWORDS = ("$schema", "$ref", "properties", "allOf", "anyOf", "oneOf", "additionalProperties")


def normalise_schema(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """An object schema with ``properties``, ``required`` and ``additionalProperties`` (False unless said otherwise).

    None (the plugin says nothing) stays None: any options pass. An empty schema lets any option pass too.
    """
    if schema is None:
        return None
    schema = deepcopy(schema)
    if schema and not _is_json_schema(schema):
        schema = {"properties": schema}
    properties = {name: _property(field) for name, field in schema.get("properties", {}).items()}
    marked = [name for name, field in schema.get("properties", {}).items() if _says_required(field)]
    required = list(dict.fromkeys([*schema.get("required", []), *marked]))
    closed = {"additionalProperties": False} if schema else {}
    return {**closed, **schema, "type": "object", "properties": properties, "required": required}


def _is_json_schema(schema: dict[str, Any]) -> bool:
    """A flat map has only dicts as values, and its keys are the plugin's own."""
    if isinstance(schema.get("type"), (str, list)) or not all(isinstance(field, dict) for field in schema.values()):
        return True
    properties = schema.get("properties")
    if isinstance(properties, dict):  # a flat map may have a field of that name: {"properties": {"type": "string"}}
        return all(isinstance(field, dict) for field in properties.values())
    return any(keyword in schema for keyword in _SCHEMA_KEYWORDS)


def _property(field: dict[str, Any]) -> dict[str, Any]:
    """A field without what JSON Schema would not read: ``required: true``, Python's type names, ``type: password``."""
    field = {key: value for key, value in field.items() if not (key == "required" and isinstance(value, bool))}
    kind = field.get("type")
    if kind == "password":
        field |= {"type": "string", "format": "password"}
    elif isinstance(kind, str) and kind in _TYPE_NAMES:
        field["type"] = _TYPE_NAMES[kind]
    return field


def _says_required(field: dict[str, Any]) -> bool:
    return field.get("required") is True
