"""sync: bring a source's documents into the ledger, a slice at a time. Leaves document rows, raw bodies, a cursor.

A document whose change hint or content hash shows no change costs nothing more. A slice ends when its time is over or
when enough of the source's documents are being processed (backpressure ends a slice, it never waits inside one).
Absence needs proof: only a full enumeration that ended without error removes documents that it did not name.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from semantik_pipeline import logs
from semantik_pipeline.contracts import ConnectorPlugin
from semantik_pipeline.documents import Checkpoint, Complete, DocumentReference, IngestedDocument, Removal
from semantik_pipeline.errors import CredentialsRejected, LeaseLost, PluginError
from semantik_pipeline.ledger.catalog.cursors import Cursor
from semantik_pipeline.ledger.ingestion import absence, revisions
from semantik_pipeline.ledger.ingestion import sync as ledger
from semantik_pipeline.ledger.ingestion.sync import Known, SourceClaim
from semantik_pipeline.ledger.queue import renewals
from semantik_pipeline.ledger.queue.leases import Hold
from semantik_pipeline.ledger.queue.renewals import Renewal
from semantik_pipeline.stages.arrivals import FIRST_BATCH, Batch, arrival_of, plugin_changed
from semantik_pipeline.stages.bodies import Unstored
from semantik_pipeline.stages.comparison import Compared, Comparison
from semantik_pipeline.stages.completion import complete
from semantik_pipeline.stages.deletions import remove_vanished
from semantik_pipeline.stages.left import pass_on
from semantik_pipeline.stages.parsing import storable
from semantik_pipeline.stages.slice_time import alone_until
from semantik_pipeline.stages.source_errors import fail_slice
from semantik_pipeline.stages.source_warnings import problems_told

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.stages.room import Place

log = logging.getLogger(__name__)

#: Seconds after which a sync gives another try to documents on which an extractor failed.
NOTES = 3600.0


def run(runtime: Runtime, until: float) -> bool:
    """Work on due sources until none is due or the slice is over. Returns whether work may be left."""
    while time.monotonic() < until and not runtime.idle:
        with runtime.ledger.read() as tx:
            good, suspects = ledger.sources_due(tx, without=runtime.left.sources())
        worked = suspects and _work_at(runtime, runtime.room.alone(lambda: runtime.idle, patient=not good), until, True)
        if not worked and not (good and _work_at(runtime, runtime.room.beside(lambda: runtime.idle), until, False)):
            return False
    return True


def _work_at(runtime: Runtime, place: Place | None, until: float, alone: bool) -> bool:
    """Run a slice of the next source, at a place in the process's room. Returns whether there was a source."""
    if place is None:
        return False
    try:
        if runtime.idle:
            pass_on(runtime)
            return False
        with runtime.ledger.write() as tx:
            lease, without = runtime.settings.work.lease, runtime.left.sources()
            claim = ledger.claim_source(tx, worker=runtime.worker_id, lease=lease, alone=alone, without=without)
        if claim is None:
            return False
        renew = partial(_renew, runtime, claim)
        with runtime.keeper.holding(claim.token, renew, runtime.settings.sync.progress_timeout) as hold:
            place.hold = hold
            try:
                _run_slice(runtime, claim, hold, place, until)
            except Exception:  # ledger unreachable: the keeper retries, or the lease would run out
                runtime.keeper.owe(claim.token, partial(_give_back, runtime, claim))
                raise
        pass_on(runtime)
        return True
    finally:
        place.leave()


def _give_back(runtime: Runtime, claim: SourceClaim) -> None:
    with runtime.ledger.write() as tx:
        ledger.give_back_source(tx, claim.token)


def _renew(runtime: Runtime, claim: SourceClaim) -> Renewal:
    with runtime.ledger.write() as tx:
        return renewals.renew_source(tx, claim.token, runtime.settings.work.lease)


def _run_slice(runtime: Runtime, claim: SourceClaim, hold: Hold, place: Place, until: float) -> None:
    with logs.bound(operation=claim.operation_id, source=claim.name):
        _try_slice(runtime, claim, hold, place, until)


def _try_slice(runtime: Runtime, claim: SourceClaim, hold: Hold, place: Place, until: float) -> None:
    try:
        Slice(runtime, claim, hold, place, until).run()
    except LeaseLost:
        log.warning("The sync of %s was taken over or cancelled.", claim.name)
    except CutShort as reason:
        log.info("A slice of the sync of %s ended early: %s.", claim.name, reason)
    except Exception as error:
        fail_slice(runtime, claim, error)


#: Reason for cutting a slice short.
PAUSED = "its operation is paused"


class CutShort(Exception):
    """The slice ended early, for the given reason. The next slice begins at the last checkpoint."""


class Slice:
    """One slice of one source."""

    def __init__(self, runtime: Runtime, claim: SourceClaim, hold: Hold, place: Place, until: float) -> None:
        self.runtime = runtime
        self.claim = claim
        self.hold = hold
        self.place = place
        self.until = until
        self.taken = time.monotonic()
        self.alone_until = 0.0  # set at the first event
        self.call = runtime.host.call
        self.size = min(FIRST_BATCH, runtime.settings.sync.batch_size)
        self.batch = Batch()
        self.unstored = Unstored(runtime.blobs)
        self.problems = claim.problems  # problems of the run that no later slice will meet again
        self.unread: list[str] = []  # problems with known documents named since the last checkpoint
        self.arriving = 0.0  # time.time() at which the comparison of the current batch began

    def run(self) -> None:
        if self._is_crowded():  # otherwise each slice would add all documents up to its first checkpoint
            self._pause(delay=self.runtime.settings.work.poll)
            return
        self.connector = self._connector()
        self._begin()
        for event in self._events(self.connector):
            self.alone_until = self.alone_until or alone_until(self.taken)
            if isinstance(event, Complete):
                self._flush()
                if not (event.full or self._fetch_owed()):
                    return
                if not remove_vanished(self.runtime, self.claim, self.hold, full=event.full):
                    self._pause(delay=0)
                    raise CutShort(PAUSED)
                self._complete(event)
                return
            if isinstance(event, Checkpoint):
                self._flush(cursor=event.cursor)
                if self._slice_is_over():
                    return
            else:
                self._add(event)
                leaves = self.runtime.idle or self.place.wanted_once((self.claim.source_id, self.claim.run))
                if leaves or len(self.batch) >= self.size:
                    self._flush()
                if leaves:  # the next checkpoint may be far away, or never come
                    self._pause(delay=0)
                    return
        raise PluginError(
            f"The connector {self.claim.connector!r} ended its enumeration of {self.claim.name} without Complete.",
            "Yield Complete(full=...) last.",
        )

    def _connector(self) -> ConnectorPlugin:
        host = self.runtime.host
        connector = host.instance(self.claim.connector, self.claim.config, kind="connector")
        self.call(connector.validate_config)
        if not self.call(connector.authenticate):
            raise CredentialsRejected(f"{self.claim.name} refuses the credentials.", "Check the source's credentials.")
        return connector

    def _begin(self) -> None:
        """Begin a new run if the cursor was made by another connector, or with other options."""
        shape = self.runtime.host.fingerprint(self.claim.connector, self.claim.config)
        before = self.claim.cursor
        if before.shape == shape:
            return
        cursor = Cursor(shape=shape)
        if before == Cursor():
            self.claim = replace(self.claim, cursor=cursor)
            return
        with self.runtime.ledger.write() as tx:
            if not ledger.source_held(tx, self.claim):
                raise LeaseLost("Another worker syncs this source now.")
            self.claim = ledger.begin_anew(tx, self.claim, cursor)
        self.problems = self.claim.problems

    def _events(self, connector: ConnectorPlugin) -> Iterator[Any]:
        """Yield the connector's events. If it only loads documents, these are the documents and a full end."""
        if type(connector).enumerate is not ConnectorPlugin.enumerate:
            yield from self.runtime.host.iterate(connector.enumerate(self.claim.cursor.start))
            return
        yield from self.runtime.host.iterate(connector.load_documents(self.claim.source_id))
        yield Complete(full=True)

    def _add(self, event: Any) -> None:
        if isinstance(event, DocumentReference):
            self.batch.named(storable(event.unique_id)).references[storable(event.unique_id)] = event
        elif isinstance(event, IngestedDocument):
            document, name = event.check(), storable(event.unique_id)
            self.unstored.add(document.content_hash, document.body)
            self.batch.named(name).documents[name] = arrival_of(name, document, None)
        elif isinstance(event, Removal):
            self.batch.named(storable(event.unique_id)).removals.append(storable(event.unique_id))
        else:
            raise PluginError(
                f"The connector {self.claim.connector!r} yielded a {type(event).__name__}.",
                "It may yield DocumentReference, Removal, Checkpoint and Complete, or IngestedDocument.",
            )

    def _flush(self, cursor: Any = None) -> None:
        """Compare the batch with the ledger, fetch what may have changed, and write everything in one transaction."""
        batch, before, found = self._compared()
        self.unread = problems_told(self.unread, found.problems)
        reached: Cursor | None = None
        if cursor is not None and not found.cut:  # all documents before the checkpoint must be in the ledger
            self.problems, self.unread = self._problems(), []
            reached = self.claim.cursor.at_checkpoint(cursor)
        self._save(before, found, gone=batch.removals, reached=reached)

    def _flush_owed(self) -> None:
        """Flush a batch of :meth:`_fetch_owed`. Documents that the source no longer has are recorded as gone."""
        _, before, found = self._compared()
        self.problems = problems_told(self.problems, found.problems)
        self._save(before, found, gone=found.gone)

    def _compared(self) -> tuple[Batch, dict[str, Known], Compared]:
        """Take the batch. Returns it, the ledger's state of its documents, and the result of the comparison."""
        batch, self.batch, self.arriving = self.batch, Batch(), time.time()
        self.unstored.store()
        self.size = min(2 * self.size, self.runtime.settings.sync.batch_size)
        self.hold.check()
        names = [*batch.references, *batch.documents, *batch.removals]
        with self.runtime.ledger.read() as tx:
            before = ledger.known(tx, self.claim.source_id, names) if names else {}
        comparison = Comparison(runtime=self.runtime, connector=self.connector, claim=self.claim, hold=self.hold)
        return batch, before, comparison.of(batch, before)

    def _save(
        self, before: dict[str, Known], found: Compared, *, gone: Sequence[str], reached: Cursor | None = None
    ) -> None:
        """Write the result and the checkpoint ``reached`` in one transaction. Raises CutShort if the slice must end."""
        arrivals, saved = found.arrivals, dict[str, Any]()
        with self.runtime.ledger.write() as tx:
            if not ledger.source_held(tx, self.claim):
                raise LeaseLost("Another worker syncs this source now.")
            ledger.lock_documents(tx, [known.document_id for known in before.values()])
            ledger.mark_seen(tx, self.claim.run, found.seen)
            ledger.mark_touched(tx, self.claim.run, found.rehinted)
            revisions.arrive(tx, self.claim, arrivals, before)
            if found.again:
                operation, lane = self.claim.operation_id, self.claim.lane
                revisions.retry_documents(tx, found.again, operation_id=operation, lane=lane)
            if gone:
                absence.mark_gone(tx, self.claim, gone)
            if reached is not None:
                saved["cursor"] = replace(reached, anew=ledger.cursor_of(tx, self.claim).anew).stored()
            if any(one.unique_id not in before for one in arrivals) or reached not in (None, self.claim.cursor):
                saved |= {"attempts": 0, "suspect": False}  # the source is past what killed or failed it before
            if saved or self.problems != self.claim.problems:
                ledger.change_source(tx, self.claim.source_id, problems=self.problems, **saved)
            if (held := ledger.on_hold(tx, self.claim)) or found.cut:
                ledger.pause_slice(tx, self.claim)
        if held:
            raise CutShort(PAUSED)
        self.hold.touch()
        self.runtime.journal.arrived(self.claim, arrivals, before, self.arriving)
        self.runtime.tally.count("units", found.read, stage="sync", outcome="done")
        for failed in (arrival.error for arrival in arrivals if arrival.error):
            self.runtime.tally.count("quarantines", stage="sync", error_type=failed["type"])
        if arrivals or found.again:
            self.runtime.ring("chunk")
            self.runtime.ring("upsert")
            self.runtime.statistics.refresh(self.runtime.ledger)
        if found.cut:
            raise CutShort("this process takes no more work")

    def _fetch_owed(self) -> bool:
        """After a run that named only changes, fetch documents that it did not name and that a fetch may repair.

        An earlier run could not read them, their body was lost, or a changed plugin may succeed on them. Those that the
        source no longer has are judged with all other deletions. Returns False if the slice ended first.
        """
        last = 0
        while self.claim.cursor.since is not None:
            with self.runtime.ledger.read() as tx:
                rows = ledger.owed(tx, self.claim, after=last, limit=self.size)
                before = ledger.known(tx, self.claim.source_id, [name for _, name in rows]) if rows else {}
            if not rows:
                break
            last = rows[-1][0]
            for name, known in before.items():
                if known.owed or plugin_changed(self.runtime.host.registry, known):
                    self.batch.references[name] = DocumentReference(name)
            self._flush_owed()
            if self._slice_is_over():
                return False
        return True

    def _slice_is_over(self) -> bool:
        """Free the source if time is up, too much is in flight, or others wait. Returns whether it did."""
        crowded = self._is_crowded()
        if not (crowded or self.runtime.idle or self._others_wait() or time.monotonic() >= self.until):
            return False
        self._pause(delay=self.runtime.settings.work.poll if crowded else 0)
        return True

    def _others_wait(self) -> bool:
        """Return whether a suspect or another source waits for this process: this slice could run for hours."""
        if self.place.wanted:
            return True
        if time.monotonic() < self.alone_until:
            return False
        limit, left = self.runtime.settings.work.max_in_flight, self.runtime.left.sources()
        with self.runtime.ledger.read() as tx:
            return ledger.others_wait(tx, self.claim, max_in_flight=limit, without=left)

    def _is_crowded(self) -> bool:
        with self.runtime.ledger.read() as tx:
            return ledger.crowded(tx, self.claim.source_id, self.runtime.settings.work.max_in_flight)

    def _pause(self, *, delay: float) -> None:
        """End the slice. The next one begins at the last checkpoint and may read what this one could not."""
        with self.runtime.ledger.write() as tx:
            if ledger.source_held(tx, self.claim):
                ledger.pause_slice(tx, self.claim, delay=delay)

    def _problems(self) -> list[str]:
        return problems_told(self.problems, [*getattr(self.connector, "problems", []), *self.unread])

    def _complete(self, event: Complete) -> None:
        problems = self._problems()
        complete(self.runtime, self.claim, self.hold, next_run=event.cursor, problems=problems, older_than=NOTES)
