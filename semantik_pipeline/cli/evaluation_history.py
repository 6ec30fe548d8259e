"""What `semantik eval --history` answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.evaluations import Evaluated
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.search.evaluation.history import Change

#: Rows that are looked at; a run of all ways has some ten.
ROWS = 500


def history(runtime: Runtime, name: str | None) -> list[dict[str, Any]]:
    """What was measured of a dataset (its folder, or its name) or a collection, or of all; newest first, each row with its
    ``change`` since it was measured before."""
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
