"""What a person types about a source: options in the types of the connector's schema, and its schedule. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from semantik_pipeline.errors import UsageError

#: Options that the word after the connector may mean, where the schema requires none: the first that it has.
_PLACES = ("path", "url", "urls", "start_urls", "bucket", "host")

#: What git takes for a place on another machine: a scheme, or a host before the first slash ("git@host:team/papers").
_REMOTE = re.compile(r"[^/]+:")


def place_option(connector: str, schema: dict[str, Any] | None) -> str:
    """The option that the word after the connector is. Raises UsageError where there is none."""
    schema = schema or {}
    properties = schema.get("properties", {})
    named = [*schema.get("required", ()), *(name for name in _PLACES if name in properties)]
    if not named:
        known = ", ".join(properties) or "none"
        raise UsageError(f"The connector {connector!r} takes no path or URL.", f"Use --set. Its options are: {known}.")
    return named[0]


def place_value(connector: str, option: str, text: str, *, here: bool) -> str:
    """A path on this machine as an absolute one; anything else as it is, whether a file of that name exists or not.
    ``here``: this machine reads it, so a path that does not exist is refused. Raises UsageError."""
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
    """The name of a source that was given none: its path or URL. For a host it includes the user, since a server has many
    accounts: ``imap://anna@mail.example``."""
    if option != "host":
        return place
    user, port = config.get("username"), config.get("port")
    return f"{connector}://{quote(user, safe='') + '@' if user else ''}{place}{f':{port}' if port else ''}"


def parse_options(schema: dict[str, Any] | None, pairs: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` each. A value has the type that the schema says, otherwise it is JSON or text; a list's key may be
    repeated. Raises UsageError for what is not a pair; whether a value fits is for the schema to say."""
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
    """A source's options after ``sources set``. Raises UsageError."""
    config = dict(before) if config_json is None else parse_object(config_json)
    return without(config, unset) | parse_options(schema, options)


def without(config: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The options without these. Raises UsageError for one that is not set."""
    for name in names:
        if name not in config:
            there = ", ".join(config) or "none"
            raise UsageError(f"The source has no option {name!r}.", f"Its options are: {there}.")
    return {key: value for key, value in config.items() if key not in names}


def parse_object(text: str) -> dict[str, Any]:
    """``--config-json``. Raises UsageError for what is not a JSON object."""
    example = 'Write --config-json \'{"path": "notes"}\'.'
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--config-json is not valid JSON: {error}.", example) from None
    if not isinstance(value, dict):
        raise UsageError("--config-json is not a JSON object.", example)
    return value
