"""Words of plugins and libraries that answers repeat, without what has the shape of a credential."""

from __future__ import annotations

from typing import Any

#: Fields whose words come from errors, not from documents.
TOLD = ("reason", "blocked", "error", "errors", "notes", "problems", "result", "sources")


def scrubbed(row: dict[str, Any]) -> dict[str, Any]:
    """The row, its fields of errors scrubbed."""
    return {name: _scrubbed(value) if name in TOLD else value for name, value in row.items()}


def _scrubbed(value: Any) -> Any:
    from semantik_pipeline.plugins.secrets import scrub

    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {name: _scrubbed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_scrubbed(inner) for inner in value]
    return value
