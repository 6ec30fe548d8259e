"""The format of the plugin state file: parses bytes into fields and renders them. Any deviation is an error."""

from __future__ import annotations

import json
from typing import Any

from semantik_pipeline.errors import StateFileError

#: The newest format version that this program reads.
STATE_VERSION = 1
#: The hint in every error about a broken file.
MEND = "Fix the file, restore a copy, or move it away; without it every plugin is enabled with its defaults."

_OURS = ("version", "revision", "updated_at", "disabled_ids", "configs")


def parse_fields(body: bytes, name: str) -> dict[str, Any]:
    """Parse the fields of a PluginState except the digest; errors call the file ``name``."""
    content = _parse_json(body, name)
    if not isinstance(content, dict):
        raise _wrong(name, "the top level", "an object", content)
    version = _whole_number(content, "version", STATE_VERSION, name)
    if version > STATE_VERSION:
        raise StateFileError(
            f"The plugin state file {name} has version {version}, but this program reads versions up to "
            f"{STATE_VERSION}.",
            "Upgrade semantik-pipeline on this machine.",
        )
    if version < 1:
        raise _wrong(name, "version", "1", version)
    disabled, configs = _normalised(content, name)
    return {
        "version": version,
        "revision": _whole_number(content, "revision", 0, name),
        "updated_at": _typed(content, "updated_at", (str, type(None)), "a time as text", None, name),
        "disabled_ids": disabled,
        "configs": configs,
        "extra": {key: value for key, value in content.items() if key not in _OURS},
    }


def render_fields(fields: dict[str, Any]) -> bytes:
    """Return the file's bytes; parsing them gives the same fields."""
    content = {
        "version": fields["version"],
        "revision": fields["revision"],
        "updated_at": fields["updated_at"],
        "disabled_ids": sorted(fields["disabled_ids"]),
        "configs": {key: _wrapped_if_needed(options) for key, options in sorted(fields["configs"].items())},
        **fields["extra"],
    }
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "surrogatepass")


def _parse_json(body: bytes, name: str) -> Any:
    try:
        return json.loads(
            body.decode("utf-8-sig", "surrogatepass"), object_pairs_hook=_without_repeats, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        where, what = f"byte {error.start}", "it is not UTF-8 text"
    except json.JSONDecodeError as error:
        where, what = f"line {error.lineno}, column {error.colno}", error.msg
    except RecursionError:
        where, what = "the top level", "it is nested too deeply"
    except ValueError as error:
        where, what = "its keys and values", str(error)
    raise StateFileError(f"The plugin state file {name} is not valid at {where}: {what}.", MEND)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # JSON parsers keep the last value, which could enable what the first one disabled
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _normalised(content: dict[str, Any], name: str) -> tuple[frozenset[str], dict[str, dict[str, Any]]]:
    disabled = _typed(content, "disabled_ids", (list,), "a list of plugin ids", [], name)
    for position, plugin_id in enumerate(disabled):
        if not isinstance(plugin_id, str):
            raise _wrong(name, f"disabled_ids[{position}]", "a plugin id as text", plugin_id)
    configs = {}
    ids = set(disabled)
    for plugin_id, value in _typed(content, "configs", (dict,), "an object", {}, name).items():
        if not isinstance(value, dict):
            raise _wrong(name, f"configs.{plugin_id}", "an object of options", value)
        enabled, configs[plugin_id] = _unwrapped(value, f"configs.{plugin_id}", name)
        if not enabled:
            ids.add(plugin_id)
    return frozenset(ids), configs


def _is_wrapped(value: dict[str, Any]) -> bool:
    return bool(value) and set(value) <= {"enabled", "config"}


def _unwrapped(value: dict[str, Any], where: str, name: str) -> tuple[bool, dict[str, Any]]:
    """Split ``{"enabled": bool, "config": {...}}`` into (enabled, options). Plain options count as enabled."""
    if not _is_wrapped(value):
        return True, value
    enabled = _typed(value, "enabled", (bool,), "true or false", True, name, where)
    return enabled, _typed(value, "config", (dict,), "an object of options", {}, name, where)


def _wrapped_if_needed(options: dict[str, Any]) -> dict[str, Any]:
    return {"enabled": True, "config": options} if _is_wrapped(options) else options


def _whole_number(content: dict[str, Any], key: str, default: int, name: str) -> int:
    value = _typed(content, key, (int,), "a whole number", default, name)
    if isinstance(value, bool) or value < 0:
        raise _wrong(name, key, "a whole number of 0 or more", value)
    return value


def _typed(
    content: dict[str, Any], key: str, types: tuple, expected: str, default: Any, name: str, where: str | None = None
) -> Any:
    value = content.get(key, default)
    if not isinstance(value, types):
        raise _wrong(name, f"{where}.{key}" if where else key, expected, value)
    return value


def _wrong(name: str, where: str, expected: str, found: Any) -> StateFileError:
    kind = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return StateFileError(
        f"The plugin state file {name} is not valid at {where}: expected {expected}, found "
        f"{kind.get(type(found), repr(found))}.",
        MEND,
    )
