"""Whether a plugin's options are valid: no raw secret, nothing unknown, nothing missing, every value of its type.

No message carries a value that may be a secret.
"""

from __future__ import annotations

import difflib
import json
import re
from functools import lru_cache
from typing import Any

from semantik_pipeline.errors import PluginConfigError, PluginLoadError
from semantik_pipeline.plugins.schema import field_of
from semantik_pipeline.plugins.secrets import find_secret, is_env_reference

Options = dict[str, Any]
Schema = dict[str, Any] | None

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def validate_config(plugin_id: str, schema: Schema, options: Options) -> None:
    """Raise PluginConfigError for a raw secret, an unknown option, a missing one or a wrong value."""
    refuse_secrets(plugin_id, options, schema)
    for name, value in options.items():
        if is_env_reference(name, field_of(schema, name)) and value is not None:
            check_variable_name(plugin_id, name, value)
    if schema is not None:
        _check_against_schema(plugin_id, schema, options)


def refuse_secrets(plugin_id: str, options: Options, schema: Schema = None) -> None:
    """Raise PluginConfigError naming the option if one holds a raw secret."""
    found = find_secret(options, schema)
    if found is None:
        return
    path, why = found
    name = re.split(r"[.\[]", path)[0]
    reference = name if name.endswith("_env") else f"{name}_env"
    raise PluginConfigError(
        f"The option {path!r} of the plugin {plugin_id!r} holds a raw secret: {why}.",
        f"Put the secret into an environment variable and give its name: {reference} = NAME_OF_THE_VARIABLE.",
    )


def check_variable_name(plugin_id: str, name: str, value: Any) -> None:
    """Raise PluginConfigError, without the value, if it is no name of an environment variable."""
    if not isinstance(value, str) or not _VARIABLE_NAME.fullmatch(value):
        raise PluginConfigError(
            f"The option {name!r} of the plugin {plugin_id!r} must be the name of an environment variable.",
            f"Give the name, not the value: {name} = NAME_OF_THE_VARIABLE.",
        )


def _check_against_schema(plugin_id: str, schema: dict[str, Any], options: Options) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    schema, options = _without_references(schema, options)
    fault = _schema_fault(json.dumps(schema, sort_keys=True, default=str))
    if fault is not None:
        raise PluginLoadError(
            f"The configuration schema of the plugin {plugin_id!r} is no JSON Schema: {fault}.",
            "Tell the plugin's author.",
        )
    worst = best_match(Draft202012Validator(schema).iter_errors(options))
    if worst is not None:
        raise _config_error(plugin_id, schema, worst)


@lru_cache(maxsize=256)
def _schema_fault(schema: str) -> str | None:
    """What is wrong with a schema, if anything is. Asked once for each: it takes 20 ms, and plugins' schemas stay."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(json.loads(schema))
    except SchemaError as error:
        return error.message
    return None


def _without_references(schema: dict[str, Any], options: Options) -> tuple[dict[str, Any], Options]:
    """Schema and options for the validator: ``foo_env`` stands for ``foo`` where the schema has only that."""
    properties = schema["properties"]
    references = {name for name in options if name.endswith("_env") and name.removesuffix("_env") in properties}
    met = {name.removesuffix("_env") for name in references}
    required = [name for name in schema["required"] if name not in met]
    left = {name: value for name, value in options.items() if name not in references - set(properties)}
    return {**schema, "required": required}, left


def _config_error(plugin_id: str, schema: dict[str, Any], error: Any) -> PluginConfigError:
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
    expected = {
        "type": lambda: f"expected {_either(error.validator_value)}",
        "enum": lambda: f"expected one of {', '.join(map(repr, error.validator_value))}",
        "pattern": lambda: f"expected text that matches {error.validator_value}",
        "const": lambda: f"expected {error.validator_value!r}",
        "minimum": lambda: f"expected {error.validator_value} or more",
        "maximum": lambda: f"expected {error.validator_value} or less",
        "exclusiveMinimum": lambda: f"expected more than {error.validator_value}",
        "exclusiveMaximum": lambda: f"expected less than {error.validator_value}",
    }.get(error.validator, lambda: error.message)()
    found = "" if expected == error.message else f", found {error.instance!r}"
    what = f"The option {path!r}" if path else "The configuration"
    return PluginConfigError(f"{what} of the plugin {plugin_id!r} does not fit: {expected}{found}.")


def _alternatives(error: Any) -> str | None:
    """The options of which one is demanded, if it is that which is not met: the fault that is found says what is wrong
    with the last of them."""
    parent = error if error.parent is None else error.parent
    if parent.validator not in ("anyOf", "oneOf") or parent.absolute_path:
        return None
    demanded = [one.get("required") or [] for one in parent.validator_value if isinstance(one, dict)]
    return ", ".join(" and ".join(names) for names in demanded) if demanded and all(demanded) else None


def _unknown_option(plugin_id: str, schema: dict[str, Any], options: Options) -> PluginConfigError:
    known = sorted(schema["properties"])
    name = next(name for name in options if name not in schema["properties"])
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(known) or 'none'}."
    return PluginConfigError(f"The plugin {plugin_id!r} has no option {name!r}.", hint)


def _either(types: str | list[str]) -> str:
    return types if isinstance(types, str) else " or ".join(types)
