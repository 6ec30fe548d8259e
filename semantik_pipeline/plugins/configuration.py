"""A plugin's effective configuration: who says what, what is valid, what shapes the output. Pure functions.

Precedence, lowest first: schema defaults, shared state file, what the collection (or source) gives. Within a
generation the output-shaping options are frozen: there the state file speaks only for the operational ones.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from semantik_pipeline.errors import PluginConfigError, PluginLoadError
from semantik_pipeline.plugins.registry import LoadedPlugin
from semantik_pipeline.plugins.schema import defaults_of, normalise_schema
from semantik_pipeline.plugins.secrets import find_secret, is_declared_secret, is_env_reference, is_secret_name, redact
from semantik_pipeline.plugins.state import PluginState

__all__ = [
    "canonical_json",
    "defaults_of",
    "effective_config",
    "fingerprint_of",
    "is_operational",
    "layered",
    "missing_options",
    "normalise_schema",
    "redact",
    "refuse_secrets",
    "resolve_env",
    "schema_of",
    "shaping_options",
    "validate_config",
]

Options = dict[str, Any]
Schema = dict[str, Any] | None

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def schema_of(plugin: LoadedPlugin) -> Schema:
    """The plugin's normalised configuration schema."""
    return normalise_schema(plugin.manifest.config_schema)


def effective_config(
    plugin: LoadedPlugin, state: PluginState, given: Options | None = None, *, frozen: bool = False
) -> Options:
    """The options that count, validated, with references to the environment unresolved.

    With ``frozen`` the ``given`` options are a generation's: the state file adds operational ones only. Raises
    PluginConfigError naming the plugin, the option and what is expected.
    """
    schema, given = schema_of(plugin), dict(given or {})
    stated = state.config_of(plugin.id)
    if frozen:
        stated = {name: value for name, value in stated.items() if is_operational(name, schema)}
    defaults = defaults_of(schema)
    options = layered(defaults, stated, given)
    if options != defaults or (schema or {}).get("required"):
        validate_config(plugin.id, schema, options)
    return options


def missing_options(plugin: LoadedPlugin, state: PluginState, given: Options | None = None) -> list[str]:
    """Required options that nobody has given, themselves or by the environment."""
    schema = schema_of(plugin)
    options = layered(defaults_of(schema), state.config_of(plugin.id), given or {})
    return [name for name in (schema or {}).get("required", []) if not {name, f"{name}_env"} & set(options)]


def validate_config(plugin_id: str, schema: Schema, options: Options) -> None:
    """Raise PluginConfigError for a raw secret, an unknown option, a missing one or a wrong value.

    No message carries a value that may be a secret.
    """
    refuse_secrets(plugin_id, options, schema)
    for name, value in options.items():
        if is_env_reference(name, _field(schema, name)) and value is not None:
            _check_variable_name(plugin_id, name, value)
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


def resolve_env(options: Options, schema: Schema = None, *, plugin_id: str = "", strict: bool = True) -> Options:
    """The options with ``foo`` beside each ``foo_env``, read from the environment.

    Only for making an instance; the result is never stored or shown. An unset variable raises PluginConfigError
    naming it; not ``strict``, its option is left out.
    """
    resolved = dict(options)
    for name, variable in options.items():
        field = _field(schema, name)
        if not is_env_reference(name, field) or variable is None:
            continue
        _check_variable_name(plugin_id, name, variable)
        value = os.environ.get(variable)
        target = _target_of(name)
        if value is not None:
            resolved[target] = value
            continue
        if strict:
            raise PluginConfigError(
                f"The environment variable {variable} is not set; the plugin {plugin_id!r} reads its {target!r} from it.",
                f"Set {variable} where this process is started.",
            )
        if target == name:
            del resolved[name]
    return resolved


def is_operational(name: str, schema: Schema) -> bool:
    """Whether an option says how, not what: it is never frozen and no part of a fingerprint.

    So are options marked ``x-operational``, secrets, and references to the environment; but ``model_env`` shapes the
    output as much as ``model`` does.
    """
    field = _field(schema, name)
    if is_env_reference(name, field):
        target = _target_of(name)
        return target == name or _field(schema, target) == {} or is_operational(target, schema)
    return field.get("x-operational") is True or is_declared_secret(field) or is_secret_name(name)


def shaping_options(options: Options, schema: Schema) -> Options:
    """The options that shape the output. Where one is given by the environment, its value there."""
    shaping = {}
    for name, value in options.items():
        if is_operational(name, schema):
            continue
        if is_env_reference(name, _field(schema, name)):
            shaping[_target_of(name)] = os.environ.get(value)
        else:
            shaping.setdefault(name, value)
    return shaping


def fingerprint_of(plugin_id: str, output_version: str, shaping: Options, revision: str | None, *extra: str) -> str:
    """32 hex digits: the first half of the SHA-256 over the canonical JSON of everything that shapes the output."""
    content = canonical_json([plugin_id, output_version, shaping, revision, *extra])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


# -- layering ---------------------------------------------------------------------------------------------------------


def layered(*layers: Mapping[str, Any]) -> Options:
    """Later layers win; ``foo`` and ``foo_env`` are two ways to say one thing, so either replaces the other."""
    options: Options = {}
    for layer in layers:
        for name in layer:
            options.pop(name.removesuffix("_env") if name.endswith("_env") else f"{name}_env", None)
        options.update(layer)
    return options


def _field(schema: Schema, name: str) -> dict[str, Any]:
    field = (schema or {}).get("properties", {}).get(name, {})
    return field if isinstance(field, dict) else {}


def _target_of(name: str) -> str:
    """The option that a reference fills: ``api_key_env`` fills ``api_key``; a declared reference fills itself."""
    return name.removesuffix("_env") or name


def _check_variable_name(plugin_id: str, name: str, value: Any) -> None:
    if not isinstance(value, str) or not _VARIABLE_NAME.fullmatch(value):
        raise PluginConfigError(
            f"The option {name!r} of the plugin {plugin_id!r} must be the name of an environment variable.",
            f"Give the name, not the value: {name} = NAME_OF_THE_VARIABLE.",
        )


# -- validating -------------------------------------------------------------------------------------------------------


def _check_against_schema(plugin_id: str, schema: dict[str, Any], options: Options) -> None:
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.exceptions import best_match

    schema, options = _without_references(schema, options)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise PluginLoadError(
            f"The configuration schema of the plugin {plugin_id!r} is no JSON Schema: {error.message}.",
            "Tell the plugin's author.",
        ) from None
    error = best_match(Draft202012Validator(schema).iter_errors(options))
    if error is not None:
        raise _config_error(plugin_id, schema, error)


def _without_references(schema: dict[str, Any], options: Options) -> tuple[dict[str, Any], Options]:
    """Schema and options for the validator: ``foo_env`` stands for ``foo`` where the schema has only that."""
    properties = schema["properties"]
    references = {name for name in options if name.endswith("_env") and name.removesuffix("_env") in properties}
    met = {name.removesuffix("_env") for name in references}
    required = [name for name in schema["required"] if name not in met]
    left = {name: value for name, value in options.items() if name not in references - set(properties)}
    return {**schema, "required": required}, left


def _config_error(plugin_id: str, schema: dict[str, Any], error: Any) -> PluginConfigError:
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
        "const": lambda: f"expected {error.validator_value!r}",
        "minimum": lambda: f"expected {error.validator_value} or more",
        "maximum": lambda: f"expected {error.validator_value} or less",
        "exclusiveMinimum": lambda: f"expected more than {error.validator_value}",
        "exclusiveMaximum": lambda: f"expected less than {error.validator_value}",
    }.get(error.validator, lambda: error.message)()
    found = "" if expected == error.message else f", found {error.instance!r}"
    what = f"The option {path!r}" if path else "The configuration"
    return PluginConfigError(f"{what} of the plugin {plugin_id!r} does not fit: {expected}{found}.")


def _unknown_option(plugin_id: str, schema: dict[str, Any], options: Options) -> PluginConfigError:
    known = sorted(schema["properties"])
    name = next(name for name in options if name not in schema["properties"])
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(known) or 'none'}."
    return PluginConfigError(f"The plugin {plugin_id!r} has no option {name!r}.", hint)


def _either(types: str | list[str]) -> str:
    return types if isinstance(types, str) else " or ".join(types)
