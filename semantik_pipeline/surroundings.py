"""The little of the environment and of the settings file that a command needs to find a server.

Reading all settings takes longer than a search by a server does; what is read here is read as ``settings.py`` reads it.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path


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


def _told(config: Path | str | None) -> str | None:
    if config is None:
        return None
    try:
        found = tomllib.loads(Path(config).read_text("utf-8")).get("data_dir")
    except (OSError, ValueError):
        return None
    return found if isinstance(found, str) else None
