"""A plugin's effective configuration: precedence, validation, and the options that shape its output.

Precedence, lowest first: schema defaults, what the process offers, shared state file, options of the collection or
source. Within a generation the output-shaping options are frozen, and the state file sets only the operational ones.

Results are not cached; environment variables that options refer to are read on every call.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from semantik_pipeline.contracts.config_schema import normalise_schema
from semantik_pipeline.errors import PluginConfigError, VariableNotSet
from semantik_pipeline.plugins.known_secrets import KNOWN
from semantik_pipeline.plugins.registry import LoadedPlugin
from semantik_pipeline.plugins.schema import defaults_of, field_of, without_demands
from semantik_pipeline.plugins.secrets import (
    is_declared_secret,
    is_env_reference,
    is_plain_word,
    is_secret_name,
    redact,
)
from semantik_pipeline.plugins.state import PluginState
from semantik_pipeline.plugins.validation import check_variable_name, refuse_secrets, validate_config

__all__ = [
    "canonical_json",
    "check_passing",
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
    "validate_part",
]

Options = dict[str, Any]
Schema = dict[str, Any] | None


def schema_of(plugin: LoadedPlugin) -> Schema:
    """Return the plugin's normalised configuration schema."""
    return normalise_schema(plugin.manifest.config_schema)


def effective_config(
    plugin: LoadedPlugin, state: PluginState, given: Options | None = None, *, frozen: bool = False
) -> Options:
    """Return the validated effective options; references to environment variables stay unresolved.

    Precedence, lowest first: schema defaults, what the process offers, the state file, ``given``. With ``frozen``,
    ``given`` are a generation's options, and the state file adds only operational ones. Raises PluginConfigError,
    which names the plugin, the option and the expected value.
    """
    schema, given = schema_of(plugin), dict(given or {})
    stated = state.config_of(plugin.id)
    if frozen:
        stated = {name: value for name, value in stated.items() if is_operational(name, schema)}
    defaults = defaults_of(schema)
    defaults |= offered(schema, state)
    options = layered(defaults, stated, given)
    if options != defaults or (schema or {}).get("required"):
        validate_config(plugin.id, schema, options)
    for name, variable in options.items():  # a child process may read these variables, and its errors are shown here
        if is_env_reference(name, field_of(schema, name)) and (value := os.environ.get(str(variable))) is not None:
            _know(name, value, schema)
    return options


def validate_part(plugin: LoadedPlugin, options: Options) -> None:
    """Raise PluginConfigError unless these options are valid as a part of a configuration.

    Missing required options are allowed: a collection or a source may set them.
    """
    schema = without_demands(schema_of(plugin))
    validate_config(plugin.id, schema, layered(defaults_of(schema), options))


def check_passing(plugin: LoadedPlugin, given: Options) -> None:
    """Raise PluginConfigError unless a caller may set these options for a single query.

    Allowed are options that shape the output. Operational options and references to environment variables, which
    say how the plugin works or which service it calls, are not.
    """
    schema = schema_of(plugin)
    known = (schema or {}).get("properties", {})
    for name in given:
        if name not in known or is_operational(name, schema) or is_env_reference(name, field_of(schema, name)):
            mine = ", ".join(name for name in known if not is_operational(name, schema)) or "none"
            raise PluginConfigError(
                f"The option {name!r} of the plugin {plugin.id!r} can't be set for a query.", f"These can: {mine}."
            )


def offered(schema: Schema, state: PluginState) -> Options:
    """Return those options offered by the process that the schema declares and that are operational."""
    known = (schema or {}).get("properties", {})
    return {name: value for name, value in state.offered.items() if name in known and is_operational(name, schema)}


def missing_options(plugin: LoadedPlugin, state: PluginState, given: Options | None = None) -> list[str]:
    """Return the required options that are set neither directly nor through an environment variable."""
    schema = schema_of(plugin)
    options = layered(defaults_of(schema), state.config_of(plugin.id), given or {})
    return [name for name in (schema or {}).get("required", []) if not {name, f"{name}_env"} & set(options)]


def resolve_env(options: Options, schema: Schema = None, *, plugin_id: str = "", strict: bool = True) -> Options:
    """Return the options with ``foo`` added for each ``foo_env``, read from the environment.

    Use the result only to make an instance; never store or show it. The values that are read are added to the known
    secrets, so errors and logs no longer show them. An unset variable raises VariableNotSet, which names it; without
    ``strict``, the option is left out instead.
    """
    resolved = dict(options)
    for name, variable in options.items():
        field = field_of(schema, name)
        if not is_env_reference(name, field) or variable is None:
            continue
        check_variable_name(plugin_id, name, variable)
        value = os.environ.get(variable)
        target = _target_of(name)
        if value is not None:
            resolved[target] = value
            _know(name, value, schema)
            continue
        if strict:
            raise VariableNotSet(
                f"The environment variable {variable} is not set. The plugin {plugin_id!r} needs it for its option "
                f"{target!r}.",
                f"Set {variable} for the process that needs it; on a fleet, for the workers.",
            )
        if target == name:
            del resolved[name]
    return resolved


def _know(name: str, value: str, schema: Schema) -> None:
    """Add a value that this reference reads to the known secrets.

    A plain word is added only if the option's name or schema declares a secret.
    """
    target = _target_of(name)
    declared = is_declared_secret(field_of(schema, target)) or is_declared_secret(field_of(schema, name))
    if declared or is_secret_name(target) or not is_plain_word(value):
        KNOWN.add(value)


def is_operational(name: str, schema: Schema) -> bool:
    """Whether an option controls how the plugin works and not its output.

    An operational option is never frozen and is no part of a fingerprint. Operational are options marked
    ``x-operational``, secrets, and references to environment variables. Exception: ``model_env`` shapes the output as
    much as ``model`` does.
    """
    field = field_of(schema, name)
    if is_env_reference(name, field):
        target = _target_of(name)
        return target == name or field_of(schema, target) == {} or is_operational(target, schema)
    return field.get("x-operational") is True or is_declared_secret(field) or is_secret_name(name)


def shaping_options(options: Options, schema: Schema) -> Options:
    """Return the options that shape the output. A reference is replaced by the value of its environment variable."""
    shaping = {}
    for name, value in options.items():
        if is_operational(name, schema):
            continue
        if is_env_reference(name, field_of(schema, name)):
            shaping[_target_of(name)] = os.environ.get(value)
        else:
            shaping.setdefault(name, value)
    return shaping


def fingerprint_of(plugin_id: str, output_version: str, shaping: Options, revision: str | None, *extra: str) -> str:
    """Return the first half, 32 hex digits, of the SHA-256 of the canonical JSON of all that shapes the output."""
    content = canonical_json([plugin_id, output_version, shaping, revision, *extra])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def canonical_json(value: Any) -> str:
    """Return the same text for equal values: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


# -- layering ---------------------------------------------------------------------------------------------------------


def layered(*layers: Mapping[str, Any]) -> Options:
    """Merge option layers; later layers win. ``foo`` and ``foo_env`` are the same option and replace each other."""
    options: Options = {}
    for layer in layers:
        for name in layer:
            options.pop(name.removesuffix("_env") if name.endswith("_env") else f"{name}_env", None)
        options.update(layer)
    return options


def _target_of(name: str) -> str:
    """Return the option that a reference sets: ``api_key_env`` sets ``api_key``; a declared reference sets itself."""
    return name.removesuffix("_env") or name
