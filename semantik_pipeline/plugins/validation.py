"""Validates a plugin's options: no raw secret, no unknown option, no missing one, and each value has its type.

No error message shows a value that may be a secret.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from semantik_pipeline.errors import PluginConfigError, PluginLoadError
from semantik_pipeline.plugins.option_errors import option_error
from semantik_pipeline.plugins.schema import field_of
from semantik_pipeline.plugins.secrets import find_secret, is_env_reference

Options = dict[str, Any]
Schema = dict[str, Any] | None

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def validate_config(plugin_id: str, schema: Schema, options: Options) -> None:
    """Raise PluginConfigError for a raw secret, an unknown option, a missing option or a wrong value."""
    refuse_secrets(plugin_id, options, schema)
    for name, value in options.items():
        if is_env_reference(name, field_of(schema, name)) and value is not None:
            check_variable_name(plugin_id, name, value)
    if schema is not None:
        _check_against_schema(plugin_id, schema, options)


def refuse_secrets(plugin_id: str, options: Options, schema: Schema = None) -> None:
    """Raise PluginConfigError, which names the option, if an option holds a raw secret."""
    found = find_secret(options, schema)
    if found is None:
        return
    path, why = found
    name = re.split(r"[.\[]", path)[0]
    reference = name if name.endswith("_env") else f"{name}_env"
    raise PluginConfigError(
        f"The option {path!r} of the plugin {plugin_id!r} holds a raw secret: {why}.",
        f"Put the secret into an environment variable and give the variable's name: {reference} = "
        "NAME_OF_THE_VARIABLE.",
    )


def check_variable_name(plugin_id: str, name: str, value: Any) -> None:
    """Raise PluginConfigError, without quoting the value, if it is not the name of an environment variable."""
    if not isinstance(value, str) or not _VARIABLE_NAME.fullmatch(value):
        raise PluginConfigError(
            f"The option {name!r} of the plugin {plugin_id!r} must be the name of an environment variable.",
            f"Give the name of the variable, not its value: {name} = NAME_OF_THE_VARIABLE.",
        )


def _check_against_schema(plugin_id: str, schema: dict[str, Any], options: Options) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    schema, options = _without_references(schema, options)
    fault = _schema_fault(json.dumps(schema, sort_keys=True, default=str))
    if fault is not None:
        raise PluginLoadError(
            f"The configuration schema of the plugin {plugin_id!r} is not a valid JSON Schema: {fault}.",
            "Report this to the plugin's author.",
        )
    worst = best_match(Draft202012Validator(schema).iter_errors(options))
    if worst is not None:
        raise option_error(plugin_id, schema, worst)


@lru_cache(maxsize=256)
def _schema_fault(schema: str) -> str | None:
    """Return what is wrong with a schema, or None. Cached, because a check takes 20 ms and schemas do not change."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(json.loads(schema))
    except SchemaError as error:
        return error.message
    return None


def _without_references(schema: dict[str, Any], options: Options) -> tuple[dict[str, Any], Options]:
    """Return schema and options for the validator: ``foo_env`` counts as ``foo`` if only ``foo`` is declared."""
    properties = schema["properties"]
    references = {name for name in options if name.endswith("_env") and name.removesuffix("_env") in properties}
    met = {name.removesuffix("_env") for name in references}
    required = [name for name in schema["required"] if name not in met]
    left = {name: value for name, value in options.items() if name not in references - set(properties)}
    return {**schema, "required": required}, left
