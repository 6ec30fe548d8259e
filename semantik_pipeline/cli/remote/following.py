"""Follows operations of a server, with the same progress display as for operations in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.pace import Pace, measured, sample, since_start
from semantik_pipeline.cli.progress import watching

if TYPE_CHECKING:
    from semantik_pipeline.client import Client


@dataclass(frozen=True, kw_only=True)
class Told:
    """The progress of an operation on the server, with the field names of the ledger's ``Progress``."""

    operation_id: str
    kind: str
    state: str
    outcome: str | None
    result: dict[str, Any] | None
    sources_running: int
    seen: int
    stages: dict[str, int]
    chunks: int
    chunks_embedded: int
    errors: list[str]
    age: float
    reason: str | None
    phase: str | None


def told(progress: Any) -> Any:
    """Convert the API's progress to the ledger's form."""
    name = progress["operation"]
    same = ("state", "outcome", "result", "sources_running", "seen", "stages", "chunks", "chunks_embedded", "errors")
    values = {field: progress[field] for field in same}
    return Told(
        operation_id=name,
        kind=name.rpartition("-")[0],
        age=progress["seconds"],
        reason=progress["reason"],
        phase=progress.get("phase"),
        **values,
    )


def followed(call: Invocation, client: Client, operation: str | int) -> dict[str, Any]:
    """Wait for the operation, and return its ``operation`` (the name), ``outcome`` and ``result``."""
    last: Any = None
    try:
        with watching() as watch:
            for last in client.operations.follow(operation):
                watch(told(last))
    except KeyboardInterrupt:
        call.say("Stopped watching. The server continues; see `semantik operations list`.")
        raise
    return {name: last[name] for name in ("operation", "outcome", "result")}


def shown(row: Any, pace: Pace | None = None) -> dict[str, Any]:
    """Convert an operation of the API to the form of ``semantik operations show --json``, including rates."""
    progress = told({**row["progress"], "reason": row["reason"]})
    pace = pace or Pace()
    pace.add(sample(progress.age, progress))
    found = measured(progress, pace if pace.looks > 1 else since_start(progress))
    return {**cast("dict[str, Any]", row), "progress": found}
