"""Temporary copies of a collection with other configurations, to compare with it (another chunk size, another model).

A copy is an export that is imported and reindexed. Results that the change does not affect are reused. No source is
read, and the collection itself is not changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.working import at_work

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Maximum number of seconds that this process spends on removing a copy. Maintenance removes the rest.
REMOVAL = 30.0


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy. ``collection`` is its name; ``changes`` maps dotted configuration names to values."""

    collection: str
    changes: dict[str, Any]

    @property
    def name(self) -> str:
        return " ".join(pair_of(name, value) for name, value in self.changes.items())


def pair_of(name: str, value: Any) -> str:
    """Format ``KEY=VALUE`` as a user would type it. A text gets quotes only if it would otherwise parse as JSON."""
    from semantik_pipeline.configurations import parse_value

    plain = isinstance(value, str) and parse_value(value) == value
    return f"{name}={value if plain else json.dumps(value)}"


@contextmanager
def copies(call: Invocation, collection: str, tried: Sequence[dict[str, Any]]) -> Iterator[list[Copy]]:
    """Make one copy per element of ``tried``, and remove the copies when the block ends.

    Without changes, no runtime is opened. Raises UsageError or PluginConfigError for an invalid change, before anything
    is copied, and PipelineError if the build of a copy failed.
    """
    if not tried:
        yield []
        return
    made = [Copy(collection=_name(collection, changes), changes=changes) for changes in tried]
    try:
        with at_work(call) as runtime:
            _build(call, runtime, collection, made)
        yield made
    finally:
        with at_work(call) as runtime:
            for one in made:
                _remove(runtime, one.collection)


def _build(call: Invocation, runtime: Runtime, collection: str, made: Sequence[Copy]) -> None:
    from tempfile import TemporaryDirectory

    from semantik_pipeline import generations, operations, transfer
    from semantik_pipeline.generations.reindex import wanted
    from semantik_pipeline.ledger.catalog.collections import get_collection

    with runtime.ledger.read() as tx:
        found = get_collection(tx, collection)
    for one in made:
        wanted(runtime, found, one.changes)
        _remove(runtime, one.collection)  # a killed run may have left it
    with TemporaryDirectory(prefix="semantik-eval-", dir=runtime.settings.data_dir) as folder:
        file = Path(folder) / "copy.tar"
        transfer.export(runtime, collection, file)
        for one in made:
            call.say(f"building {collection} with {one.name}")
            told = transfer.import_collection(runtime, file, name=one.collection)
            _wait(runtime, told["operation"], one)
            _wait(runtime, generations.reindex(runtime, one.collection, one.changes, accept_losses=True), one)
            operations.optimize(runtime, one.collection)


def _wait(runtime: Runtime, operation: int, copy: Copy) -> None:
    from semantik_pipeline import operations
    from semantik_pipeline.cli.progress import watching
    from semantik_pipeline.errors import PipelineError

    with watching() as watch:
        ended = operations.wait(runtime, operation, watch)
    if ended.outcome not in ("succeeded", "degraded"):
        reasons = "; ".join((ended.result or {}).get("errors", [])) or f"{ended.kind}-{operation} {ended.outcome}"
        raise PipelineError(f"An index with {copy.name} could not be built: {reasons}", "Leave out that --try.")


def _remove(runtime: Runtime, name: str) -> None:
    from semantik_pipeline import trash
    from semantik_pipeline.ledger.catalog.collections import find_collection

    with runtime.ledger.read() as tx:
        if find_collection(tx, name, trashed=True) is None:
            return
    trash.delete_collection(runtime, name, purge=True)
    trash.advance(runtime, seconds=REMOVAL)


def _name(collection: str, changes: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([collection, changes], sort_keys=True).encode("utf-8", "replace"))
    return f"eval-{collection[:150]}-{digest.hexdigest()[:8]}"
