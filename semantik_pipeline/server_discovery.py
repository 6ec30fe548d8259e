"""Environment variables outside the settings: those that a command needs to find a server, and checks for wrong names.

Reading all settings takes longer than a search through a server. The few values read here have the same precedence as
in ``settings.py``.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_origin

from semantik_pipeline.errors import SettingsError

#: Variables that are read outside the settings, and the prefix of those that tests read.
_OTHERS = ("SEMANTIK_CONFIG", "SEMANTIK_URL", "SEMANTIK_API_KEY")
_TESTS = "SEMANTIK_TEST_"

LIST_OF_SETTINGS = "config/semantik.toml lists every setting."


def data_folder(config: Path | None, explicit: Path | None) -> Path:
    """Return the data folder, with the precedence of the settings. An unreadable settings file is ignored here."""
    named = explicit or os.environ.get("SEMANTIK_DATA_DIR") or _told(config or os.environ.get("SEMANTIK_CONFIG"))
    if named is None:
        import platformdirs

        named = platformdirs.user_data_dir("semantik", appauthor=False)
    return Path(named).expanduser().absolute()


def variable(name: str) -> str | None:
    """Return the value of an environment variable; None if it is not set or empty."""
    return os.environ.get(name) or None


def environment(**changes: str) -> dict[str, str]:
    """Return the environment for a child process: this process's environment with changes."""
    return {**os.environ, **changes}


def check_variables(fields: Mapping[str, Any]) -> None:
    """Raise SettingsError for a variable ``SEMANTIK_...`` that is neither a setting nor read elsewhere.

    The message does not show the value, which may be a secret.
    """
    sections = [_variable(field) for field in fields]
    for name in sorted(os.environ):
        known = name.upper()
        if not known.startswith("SEMANTIK_") or known in _OTHERS or known.startswith(_TESTS):
            continue
        if not any(known == section or known.startswith(f"{section}_") for section in sections):
            raise SettingsError(f"{name} is not a setting.", _near(known, _variables(fields)))


def unknown(name: str, file: Path | str | None, fields: Mapping[str, Any]) -> SettingsError:
    """Return the error for an unknown setting, given its dotted name in a file."""
    where = f" in {file}" if file else ""
    return SettingsError(f"There is no setting {name!r}{where}.", _near(name, [*fields, *_names(fields)]))


def invalid(fault: Mapping[str, Any], file: Path | str | None, fields: Mapping[str, Any]) -> SettingsError:
    """Return the error for a setting that pydantic rejected; it names the variable or the file that sets it.

    The value of an unknown setting is not shown, because it may be a secret.
    """
    name = ".".join(map(str, fault["loc"]))
    variable = next((one for one in os.environ if one.upper() == _variable(name)), None)
    if fault["type"] == "extra_forbidden":
        if variable is None:
            return unknown(name, file, fields)
        return SettingsError(f"{variable} is not a setting.", _near(variable.upper(), _variables(fields)))
    where = f" (from {variable or file})" if variable or file else ""
    expected = fault["msg"].removeprefix("Value error, ").replace("Input should be ", "expected ", 1)
    expected = expected.partition(", unable to parse")[0]
    return SettingsError(
        f"The setting {name!r}{where} is not valid: {expected}, found {fault.get('input')!r}.", LIST_OF_SETTINGS
    )


def unreadable(fields: Mapping[str, Any]) -> SettingsError:
    """Return the error for variables whose values must be JSON but are not. It shows no value."""
    known = _json_variables(fields)
    wrong = [name for name in sorted(os.environ) if name.upper() in known and not _is_json(os.environ[name])]
    return SettingsError(
        f"The value of {', '.join(wrong)} is not JSON.",
        """Write a list as '["one", "two"]', and an object or a whole section as '{"name": "value"}'.""",
    )


def _json_variables(fields: Mapping[str, Any]) -> set[str]:
    """Return the names of variables whose value is JSON: whole sections, and settings that are lists or objects."""
    names = [
        section for section, field in fields.items() if _settings_of(field) or get_origin(field.annotation) is dict
    ]
    for section, field in fields.items():
        of_json = [name for name, one in _settings_of(field).items() if get_origin(one.annotation) in (list, dict)]
        names += [f"{section}.{name}" for name in of_json]
    return set(map(_variable, names))


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def _variable(name: str) -> str:
    """Return the environment variable of a setting, given by its dotted name, or of a section."""
    return f"SEMANTIK_{name.replace('.', '_')}".upper()


def _settings_of(field: Any) -> Mapping[str, Any]:
    """Return the settings of a section; empty if the field is not a section."""
    return getattr(field.annotation, "model_fields", {})


def _names(fields: Mapping[str, Any]) -> list[str]:
    """Return the dotted name of every setting."""
    return [f"{section}.{name}" for section, field in fields.items() for name in _settings_of(field)]


def _variables(fields: Mapping[str, Any]) -> list[str]:
    return ["SEMANTIK_DATA_DIR", *_OTHERS, *map(_variable, _names(fields))]


def _near(name: str, known: Sequence[str]) -> str:
    """Return the hint for an unknown name: the most similar known name, if there is one."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"Did you mean {near[0]}?" if near else LIST_OF_SETTINGS


def _told(config: Path | str | None) -> str | None:
    if config is None:
        return None
    try:
        found = tomllib.loads(Path(config).read_text("utf-8")).get("data_dir")
    except (OSError, ValueError):
        return None
    return found if isinstance(found, str) else None
