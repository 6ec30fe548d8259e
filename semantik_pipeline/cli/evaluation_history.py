"""The answer of `semantik eval --history`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.evaluations import Evaluated
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.search.evaluation.history import Change

#: Maximum number of rows that are read. A run that compares all ways has about ten.
ROWS = 500


def history(runtime: Runtime, name: str | None) -> list[dict[str, Any]]:
    """Return past measurements, newest first, each with its ``change`` since the measurement before it.

    ``name`` is a dataset (its folder or name) or a collection. None selects all.
    """
    from semantik_pipeline.ledger.catalog import evaluations
    from semantik_pipeline.search.evaluation.history import changes

    wanted = Path(name).expanduser().resolve().name if name and Path(name).expanduser().is_dir() else name
    with runtime.ledger.read() as tx:
        rows = evaluations.history(tx, wanted, limit=ROWS)
    return [_told(row, change) for row, change in changes(rows)]


def _told(row: Evaluated, change: Change | None) -> dict[str, Any]:
    since = (
        None
        if change is None
        else {
            "run": change.before.run,
            "at": change.before.at,
            "difference": change.difference,
            "p": change.p,
            "queries": change.queries,
            "configured": {name: list(values) for name, values in change.configured.items()},
        }
    )
    return {
        "run": row.run,
        "at": row.at,
        "kind": row.kind,
        "subject": row.subject,
        "fingerprint": row.fingerprint,
        "collection": row.collection,
        "way": row.way,
        "default": row.is_default,
        **row.measures,
        "queries": len(row.scores),
        "configuration": row.configuration,
        "change": since,
    }
