"""Compare the documents that a sync batch names with what the ledger knows of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from semantik_pipeline.contracts import ConnectorPlugin
from semantik_pipeline.documents import DocumentReference
from semantik_pipeline.ledger.ingestion.sync import Arrival, Known, SourceClaim
from semantik_pipeline.ledger.queue.leases import Hold
from semantik_pipeline.ledger.tables.ingestion import NOT_READ
from semantik_pipeline.stages.arrivals import Batch, plugin_changed, redescribed, same_content, without_content
from semantik_pipeline.stages.fetching import Left, Unread, fetch_all
from semantik_pipeline.stages.unit_errors import describe, told

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


@dataclass(kw_only=True)
class Compared:
    """The result of a comparison.

    - ``seen``: ids of unchanged documents.
    - ``rehinted``: ids of documents of which only the change hint is new, with that hint.
    - ``arrivals``: new or changed documents.
    - ``problems``: reasons why known documents could not be read. These documents stay as they are.
    - ``gone``: unique ids of known documents that no longer existed when they were fetched.
    - ``again``: ids of documents that could not be read now, but whose stored body a changed plugin may be able to
      process.
    - ``cut``: the process takes no more work, and not every document was fetched.
    """

    seen: list[int] = field(default_factory=list)
    rehinted: list[tuple[int, str | None]] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    cut: bool = False

    @property
    def read(self) -> int:
        """Number of documents that were read, or were found to be unchanged."""
        return len(self.seen) + len(self.rehinted) + sum(arrival.error is None for arrival in self.arrivals)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Compares the batches of one slice of a source."""

    runtime: Runtime
    connector: ConnectorPlugin
    claim: SourceClaim
    hold: Hold

    def of(self, batch: Batch, before: dict[str, Known]) -> Compared:
        """Compare a batch with the ledger's state ``before`` and fetch the documents that may have changed.

        Once the process takes no more work, it fetches no further documents. What was already fetched is kept.
        """
        found = Compared()
        same: list[tuple[Known, Arrival]] = []
        changed = self._changed(batch, before, found)
        for (name, reference), fetched in fetch_all(self.runtime, self.connector, self.claim, self.hold, changed):
            known = before.get(name)
            if isinstance(fetched, Left):
                found.cut = True
            elif isinstance(fetched, Unread):
                self._unread(found, known, name, reference, fetched)
            elif fetched is not None:
                self._sort(found, same, known, fetched)
            elif known:
                found.gone.append(name)
        for name, arrival in batch.documents.items():
            self._sort(found, same, before.get(name), arrival)
        self._describe(found, same)
        return found

    def _changed(
        self, batch: Batch, before: dict[str, Known], found: Compared
    ) -> Iterator[tuple[str, DocumentReference]]:
        """Yield the references that may have changed."""
        for name, reference in batch.references.items():
            known = before.get(name)
            if known and self._same_hint(known, reference):
                found.seen.append(known.document_id)
            else:
                yield name, reference

    def _sort(self, found: Compared, same: list[tuple[Known, Arrival]], known: Known | None, arrival: Arrival) -> None:
        if known and same_content(self.runtime.host.registry, known, arrival):
            same.append((known, arrival))
        else:
            found.arrivals.append(arrival)

    def _unread(
        self, found: Compared, known: Known | None, name: str, reference: DocumentReference, unread: Unread
    ) -> None:
        """Record a document that could not be read. That proves neither a deletion nor a change.

        A known document stays as it is, and every run fetches it again until it can be read. If it is in quarantine and
        the plugin that failed on it has changed, it is also tried again with its stored body. An unknown document is
        listed with the reason.
        """
        if known and (known.trashed or not known.deleted):
            found.rehinted.append((known.document_id, NOT_READ))
            if not (known.failed_at == "sync" or known.trashed):  # otherwise the document list already shows the reason
                found.problems.append(told(unread.error))
            if known.content_hash and not known.deleted and plugin_changed(self.runtime.host.registry, known):
                found.again.append(known.document_id)
            return
        error = describe(unread.error)
        found.arrivals.append(without_content(name, reference, self.claim, error=error, hint=NOT_READ))

    def _describe(self, found: Compared, same: Sequence[tuple[Known, Arrival]]) -> None:
        """Handle documents with unchanged content.

        Those with changed metadata become arrivals. Of the others only the change hint is updated.
        """
        with self.runtime.ledger.read() as tx:
            names = redescribed(tx, same)
        found.arrivals += [arrival for _, arrival in same if arrival.unique_id in names]
        found.rehinted += [(known.document_id, one.change_hint) for known, one in same if one.unique_id not in names]

    def _same_hint(self, known: Known, reference: DocumentReference) -> bool:
        same = reference.change_hint is not None and known.change_hint == reference.change_hint
        return same and not known.deleted and not plugin_changed(self.runtime.host.registry, known)
