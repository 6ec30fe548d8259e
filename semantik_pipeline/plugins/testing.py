"""Contract tests and fakes for plugin authors: ``from semantik_pipeline.plugins.testing import ...``.

Offers the names of :mod:`semantik_pipeline.testing`, which is imported when the first of them is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # the import system asks for __path__ and similar attributes
        raise AttributeError(name)
    return getattr(import_module("semantik_pipeline.testing"), name)


def __dir__() -> list[str]:
    return sorted(name for name in dir(import_module("semantik_pipeline.testing")) if not name.startswith("_"))
