"""Record what happened to the units of a claim: one log line each (at ``debug``), and spans in their traces."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semantik_pipeline import logs
from semantik_pipeline.errors import PipelineError
from semantik_pipeline.ledger.ingestion import revisions
from semantik_pipeline.ledger.operations import lifecycle
from semantik_pipeline.traces import Revision, Work

if TYPE_CHECKING:
    from semantik_pipeline.ledger.ingestion.sync import Arrival, Known, SourceClaim
    from semantik_pipeline.ledger.queue.work import Claim, Unit
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

#: Number of documents that a log line about several documents names.
NAMED = 10

Key = tuple[int, int]


def about(units: Sequence[Unit]) -> dict[str, Any]:
    """Return the log fields for a line about these units: the document, or the first few documents."""
    names = list(dict.fromkeys(unit.unique_id for unit in units))
    return {"document": names[0]} if len(names) == 1 else {"documents": names[:NAMED]}


def stage_plugins(runtime: Runtime, unit: Unit) -> str:
    """Return ids and versions of the plugins that work on the unit's stage."""
    config = runtime.generation(unit.generation_id).config
    chosen = {
        "chunk": [*config["parsers"]["options"], config["chunking"]["plugin"]],
        "extract": [choice["plugin"] for choice in (*config["extraction"]["chunk"], *config["extraction"]["document"])],
        "embed": [config["embedding"]["plugin"]],
    }.get(unit.stage, [])
    loaded = {plugin.id: plugin.manifest.version for plugin in runtime.host.registry}
    return ", ".join(f"{name} {loaded.get(name, 'absent')}" for name in chosen)


class Journal:
    """The journal of one process. It costs almost nothing if debug logging and tracing are off."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._errors: dict[str, dict[Key, str]] = {}  # token of a claim -> errors of its failed units

    def failed(self, claim: Claim, units: Iterable[Unit], error: BaseException) -> None:
        """Remember that these units of a running claim failed."""
        told = f"{type(error).__name__}: {error}"
        self._errors.setdefault(claim.token, {}).update((unit.key, told) for unit in units)

    def ended(self, claim: Claim, began: float, given_back: Collection[Key]) -> None:
        """Report the units of a finished claim.

        ``began`` is the start time of the claim (time.time()). The units in ``given_back`` were released and wait for
        another claim.
        """
        errors = self._errors.pop(claim.token, {})
        if not self._listening:
            return
        ended = time.time()
        found = self._operations(claim.units) if log.isEnabledFor(logging.DEBUG) else {}
        for unit in claim.units:
            error = errors.get(unit.key)
            outcome = "failed" if error else "released" if unit.key in given_back else "done"
            with logs.bound(stage=claim.stage, document=unit.unique_id, operation=found.get(unit.document_id)):
                log.debug("%s: %s; claimed %.3f s ago with %d others", claim.stage, outcome, *_company(claim, began))
            self._trace(unit, claim.stage, began, ended, outcome, error)

    def arrived(
        self, claim: SourceClaim, arrivals: Sequence[Arrival], before: Mapping[str, Known], began: float
    ) -> None:
        """Report the new revisions that a sync slice brought into the ledger.

        ``began`` is the time when the slice began to compare them (time.time()).
        """
        if not self._listening or not arrivals:
            return
        traces, ended = self._runtime.traces, time.time()
        for arrival in arrivals:
            known = before.get(arrival.unique_id)
            error = (arrival.error or {}).get("message")
            with logs.bound(document=arrival.unique_id):
                log.debug("sync: %s", error or ("changed" if known else "new"))
            revision = known.revision + 1 if known else 1
            told = Revision(source_id=claim.source_id, unique_id=arrival.unique_id, revision=revision)
            if traces is not None and traces.wants(told):
                collection = self._collection(claim.collection_id)
                facts = {"collection": collection, "plugin": claim.connector, "worker": self._runtime.worker_id}
                traces.tell(told, Work(stage="sync", began=began, ended=ended, error=error, facts=facts))

    @property
    def _listening(self) -> bool:
        return self._runtime.traces is not None or log.isEnabledFor(logging.DEBUG)

    def _trace(self, unit: Unit, stage: str, began: float, ended: float, outcome: str, error: str | None) -> None:
        traces, runtime = self._runtime.traces, self._runtime
        revision = Revision(source_id=unit.source_id, unique_id=unit.unique_id, revision=unit.revision)
        if traces is None or not traces.wants(revision):
            return
        generation = runtime.generation(unit.generation_id)
        facts: dict[str, str | int] = {
            "collection": generation.collection,
            "generation": generation.id,
            "plugin": stage_plugins(runtime, unit) or str(runtime.store.PLUGIN_ID),
            "chunks": unit.chunks,
            "worker": runtime.worker_id,
            "outcome": outcome,
        }
        traces.tell(revision, Work(stage=stage, began=began, ended=ended, error=error, facts=facts))

    def _collection(self, collection_id: int) -> str:
        with self._runtime.ledger.read() as tx:
            found = revisions.live_generations(tx, collection_id)
        return self._runtime.generation(found[0]).collection if found else str(collection_id)

    def _operations(self, units: Sequence[Unit]) -> dict[int, int]:
        try:
            with self._runtime.ledger.read() as tx:
                return lifecycle.of_documents(tx, [unit.document_id for unit in units])
        except PipelineError:  # the work is done; a line without an operation does no harm
            return {}


def _company(claim: Claim, began: float) -> tuple[float, int]:
    return time.time() - began, len(claim.units) - 1
