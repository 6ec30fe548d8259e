"""The environment beside the settings: the little that a command needs to find a server, and what belongs to nothing.

Reading all settings takes longer than a search by a server does; what is read here is read as ``settings.py`` reads it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semantik_pipeline.errors import SettingsError

#: What is read beside the settings, and the beginning of what tests read.
_OTHERS = ("SEMANTIK_CONFIG", "SEMANTIK_URL", "SEMANTIK_API_KEY")
_TESTS = "SEMANTIK_TEST_"


def data_folder(config: Path | None, explicit: Path | None) -> Path:
    """The data folder, by the precedence of the settings. A settings file that can't be read says nothing here."""
    named = explicit or os.environ.get("SEMANTIK_DATA_DIR") or _told(config or os.environ.get("SEMANTIK_CONFIG"))
    if named is None:
        import platformdirs

        named = platformdirs.user_data_dir("semantik", appauthor=False)
    return Path(named).expanduser().absolute()


def variable(name: str) -> str | None:
    """The value of an environment variable; None for one that is not set, or empty."""
    return os.environ.get(name) or None


def environment(**changes: str) -> dict[str, str]:
    """The environment for a child process: this process's own, with changes."""
    return {**os.environ, **changes}


def check_variables(fields: Mapping[str, Any]) -> None:
    """Raise SettingsError for a variable ``SEMANTIK_...`` that belongs to no field of the settings and is nothing else
    that is read. Says no value: it may be a secret."""
    sections = [f"SEMANTIK_{field}".upper() for field in fields]
    for name in sorted(os.environ):
        known = name.upper()
        if not known.startswith("SEMANTIK_") or known in _OTHERS or known.startswith(_TESTS):
            continue
        if not any(known == section or known.startswith(f"{section}_") for section in sections):
            raise _unknown(name, fields)


def _unknown(name: str, fields: Mapping[str, Any]) -> SettingsError:
    import difflib

    within = {section: getattr(field.annotation, "model_fields", {}) for section, field in fields.items()}
    known = [f"SEMANTIK_{section}_{one}".upper() for section, names in within.items() for one in names]
    near = difflib.get_close_matches(name.upper(), ["SEMANTIK_DATA_DIR", *_OTHERS, *known], n=1, cutoff=0.8)
    return SettingsError(
        f"The environment variable {name} is no setting; names that begin with SEMANTIK_ are settings.",
        f"Did you mean {near[0]}?" if near else "config/semantik.toml lists every setting.",
    )


def _told(config: Path | str | None) -> str | None:
    if config is None:
        return None
    try:
        found = tomllib.loads(Path(config).read_text("utf-8")).get("data_dir")
    except (OSError, ValueError):
        return None
    return found if isinstance(found, str) else None
