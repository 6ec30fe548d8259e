"""Contract tests and fakes for plugin authors: ``from semantik_pipeline.plugins.testing import ...``.

The same names as :mod:`semantik_pipeline.testing`, imported when one is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # the import system probes for __path__ and the like
        raise AttributeError(name)
    return getattr(import_module("semantik_pipeline.testing"), name)


def __dir__() -> list[str]:
    return sorted(name for name in dir(import_module("semantik_pipeline.testing")) if not name.startswith("_"))
