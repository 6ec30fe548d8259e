"""Turns a JSON Schema validator's error into a message: which option, what is expected, and its range."""

from __future__ import annotations

import difflib
import json
from typing import Any

from semantik_pipeline.errors import PluginConfigError
from semantik_pipeline.plugins.schema import field_of

#: Names of JSON Schema's types for messages.
_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def option_error(plugin_id: str, schema: dict[str, Any], error: Any) -> PluginConfigError:
    """Return the error for a violation that the validator of ``schema`` reported."""
    if (names := _alternatives(error)) is not None:
        return PluginConfigError(f"The plugin {plugin_id!r} needs one of the options {names}.", "Give one of them.")
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    if error.validator == "additionalProperties" and not path:
        return _unknown_option(plugin_id, schema, error.instance)
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        where = f"{path}.{missing}" if path else missing
        return PluginConfigError(
            f"The plugin {plugin_id!r} needs the option {where!r}.",
            f"Set it: `semantik plugins configure {plugin_id} {where}=...`",
        )
    what = (
        f"The option {path!r} of the plugin {plugin_id!r}" if path else f"The configuration of the plugin {plugin_id!r}"
    )
    if error.validator == "pattern" and "://" in error.validator_value:
        wrong = "is not an http or https URL" if "://" in error.instance else "is not a URL"
        return PluginConfigError(f"{what}: {error.instance!r} {wrong}; write https://HOST/PATH.")
    if error.validator == "pattern" and (about := field_of(schema, path).get("description")):
        return PluginConfigError(f"{what} is not valid: {error.instance!r}.", about)
    expected = _expected(error)
    found = "" if expected == error.message else f", found {error.instance!r}"
    top = len(error.absolute_path) == 1
    return PluginConfigError(
        f"{what} is not valid: {expected}{found}.", allowed(field_of(schema, path)) if top else None
    )


def allowed(field: dict[str, Any]) -> str | None:
    """Describe the values an option accepts: choices or range, and the default; otherwise the option's description."""
    types = field.get("type", [])
    kinds = [types] if isinstance(types, str) else types
    default = f" The default is {json.dumps(field['default'])}." if field.get("default") is not None else ""
    if "enum" in field:
        return f"Choose one of {', '.join(map(str, field['enum']))}.{default}"
    if {"integer", "number"} & set(kinds):
        return f"Give {_either(kinds)}{_range(field)}.{default}"
    if "boolean" in kinds or ("array" in kinds and not field.get("description")):
        return f"Give {_either(kinds)}.{default}"
    return field.get("description")


def _range(field: dict[str, Any]) -> str:
    least, most = field.get("minimum"), field.get("maximum")
    if least is not None and most is not None:
        return f" from {least} to {most}"
    bounds = [
        f" above {field['exclusiveMinimum']}" if "exclusiveMinimum" in field else "",
        f" of {least} or more" if least is not None else "",
        f" below {field['exclusiveMaximum']}" if "exclusiveMaximum" in field else "",
        f" of {most} or less" if most is not None else "",
    ]
    return " and".join(bound for bound in bounds if bound)


def _expected(error: Any) -> str:
    value = error.validator_value
    says = {
        "type": lambda: f"expected {_either([value] if isinstance(value, str) else value)}",
        "enum": lambda: f"expected one of {', '.join(map(repr, value))}",
        "pattern": lambda: f"expected text that matches {value}",
        "const": lambda: f"expected {value!r}",
        "minimum": lambda: f"expected {value} or more",
        "maximum": lambda: f"expected {value} or less",
        "exclusiveMinimum": lambda: f"expected more than {value}",
        "exclusiveMaximum": lambda: f"expected less than {value}",
        "minLength": lambda: f"expected at least {value} characters",
        "minItems": lambda: f"expected at least {value} entries",
    }
    return says.get(error.validator, lambda: error.message)()


def _either(types: list[str]) -> str:
    return " or ".join(_KINDS.get(one, one) for one in types)


def _alternatives(error: Any) -> str | None:
    """Return the option names if the violation is that none of several alternatives is given, otherwise None.

    The validator reports only what is missing from the last alternative, so the parent error is examined.
    """
    parent = error if error.parent is None else error.parent
    if parent.validator not in ("anyOf", "oneOf") or parent.absolute_path:
        return None
    demanded = [one.get("required") or [] for one in parent.validator_value if isinstance(one, dict)]
    return ", ".join(" and ".join(names) for names in demanded) if demanded and all(demanded) else None


def _unknown_option(plugin_id: str, schema: dict[str, Any], options: dict[str, Any]) -> PluginConfigError:
    known = sorted(schema["properties"])
    name = next(name for name in options if name not in schema["properties"])
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Its options are: {', '.join(known) or 'none'}."
    return PluginConfigError(f"The plugin {plugin_id!r} has no option {name!r}.", hint)
