"""Parses what a user types about a source: its place, its name, and options in the types of the connector's schema.

Only :func:`place_value` reads the file system, to check that a path exists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from semantik_pipeline.errors import UsageError

#: Options that the argument after the connector may set, if the schema requires no option. The first one that the
#: schema has is used.
_PLACES = ("path", "url", "urls", "start_urls", "bucket", "host")

#: Matches what git treats as remote: a scheme, or a host before the first slash ("git@host:team/papers").
_REMOTE = re.compile(r"[^/]+:")


def place_option(connector: str, schema: dict[str, Any] | None) -> str:
    """Return the option that the argument after the connector sets. Raises UsageError if there is none."""
    schema = schema or {}
    properties = schema.get("properties", {})
    named = [*schema.get("required", ()), *(name for name in _PLACES if name in properties)]
    if not named:
        known = ", ".join(properties) or "none"
        raise UsageError(f"The connector {connector!r} takes no path or URL.", f"Use --set. Its options are: {known}.")
    return named[0]


def place_value(connector: str, option: str, text: str, *, here: bool) -> str:
    """Return the argument after the connector: a path made absolute, anything else unchanged.

    ``here`` says that this host reads the path, so that it must exist. Raises UsageError for an empty argument or a
    missing path.
    """
    if not text.strip():
        raise UsageError("The path or URL after the connector is empty.", "Give a path or URL, or leave it out.")
    is_path = option == "path" or ((connector, option) == ("git", "url") and not _REMOTE.match(text))
    if "://" in text or not is_path:
        return text
    path = Path(text).expanduser()
    if here and not path.exists():
        other = ", or a URL" if option == "url" else ""
        raise UsageError(f"{text} does not exist.", f"Give the path of a folder or a file{other}.")
    return str(path.absolute())


def source_name(connector: str, option: str, place: str, config: dict[str, Any]) -> str:
    """Return the default name of a source: its path or URL.

    For a host, the name includes the user, since a server has many accounts: ``imap://anna@mail.example``.
    """
    if option != "host":
        return place
    user, port = config.get("username"), config.get("port")
    return f"{connector}://{quote(user, safe='') + '@' if user else ''}{place}{f':{port}' if port else ''}"


def parse_options(schema: dict[str, Any] | None, pairs: Sequence[str]) -> dict[str, Any]:
    """Parse ``KEY=VALUE`` pairs.

    A value gets its type from the schema; without a type it is JSON if it parses, otherwise text. The key of a list may
    be repeated. Raises UsageError for an argument that is not a pair. Values are not validated here.
    """
    properties = (schema or {}).get("properties", {})
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise UsageError(f"{pair!r} is not KEY=VALUE.", "Write --set branch=main, or --set password_env=NAME.")
        spec = properties.get(key, {})
        value = _value(spec, key, text)
        if "array" in _types(spec) and isinstance(options.get(key), list):
            value = [*options[key], *value]
        options[key] = value
    return options


def _types(spec: dict[str, Any]) -> list[str]:
    types = spec.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def _value(spec: dict[str, Any], key: str, text: str) -> Any:
    types = _types(spec)
    if key.endswith("_env") or types == ["string"]:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if "array" in types and not isinstance(value, list):
        return [text]
    return text if "string" in types and not isinstance(value, list | dict | None) else value


def changed(
    before: dict[str, Any],
    schema: dict[str, Any] | None,
    options: Sequence[str],
    unset: Sequence[str],
    config_json: str | None,
) -> dict[str, Any]:
    """Return a source's options after ``sources set``. Raises UsageError for an argument that can't be applied."""
    config = dict(before) if config_json is None else parse_object(config_json)
    return without(config, unset) | parse_options(schema, options)


def without(config: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the options without ``names``. Raises UsageError for a name that is not set."""
    for name in names:
        if name not in config:
            there = ", ".join(config) or "none"
            raise UsageError(f"The source has no option {name!r}.", f"Its options are: {there}.")
    return {key: value for key, value in config.items() if key not in names}


def parse_object(text: str) -> dict[str, Any]:
    """Parse the value of ``--config-json``. Raises UsageError if it is not a JSON object."""
    example = 'Write --config-json \'{"path": "notes"}\'.'
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--config-json is not valid JSON: {error}.", example) from None
    if not isinstance(value, dict):
        raise UsageError("--config-json is not a JSON object.", example)
    return value
