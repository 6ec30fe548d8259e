"""Words of plugins and libraries that answers repeat, without what has the shape of a credential."""

from __future__ import annotations

from typing import Any

#: Fields whose words come from errors, not from documents.
TOLD = ("reason", "blocked", "error", "errors", "notes", "problems", "result", "sources")


def scrubbed(row: dict[str, Any]) -> dict[str, Any]:
    """The row, its fields of errors scrubbed."""
    from semantik_pipeline.plugins.secrets import scrub_within

    return {name: scrub_within(value) if name in TOLD else value for name, value in row.items()}
