"""What a batch of a sync brings: each document that it names beside what the ledger knows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from semantik_pipeline.contracts import ConnectorPlugin
from semantik_pipeline.documents import DocumentReference
from semantik_pipeline.ledger.ingestion.sync import Arrival, Known, SourceClaim
from semantik_pipeline.ledger.operations.outcomes import NOT_READ
from semantik_pipeline.ledger.queue.leases import Hold
from semantik_pipeline.stages.arrivals import Batch, plugin_changed, redescribed, same_content, without_content
from semantik_pipeline.stages.fetching import Unread, fetch
from semantik_pipeline.stages.unit_errors import describe, told

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


@dataclass(kw_only=True)
class Compared:
    """``seen``: ids of unchanged documents; ``rehinted``: those of which only the hint is new; ``problems``: why known
    ones could not be read, which stay as they are; ``gone``: known ones that were not there when they were fetched;
    ``again``: ids of those that could not be read and that a plugin that changed may get through, with the body that is
    stored;
    ``cut``: the process takes no more work, and not all was fetched."""

    seen: list[int] = field(default_factory=list)
    rehinted: list[tuple[int, str | None]] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    cut: bool = False

    @property
    def read(self) -> int:
        """Documents of which is known now what they are."""
        return len(self.seen) + len(self.rehinted) + sum(arrival.error is None for arrival in self.arrivals)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Of one slice of a source."""

    runtime: Runtime
    connector: ConnectorPlugin
    claim: SourceClaim
    hold: Hold

    def of(self, batch: Batch, before: dict[str, Known]) -> Compared:
        """Fetches what may have changed, and no more once the process takes no more work: what is fetched is kept."""
        found = Compared()
        same: list[tuple[Known, Arrival]] = []
        for name, reference in batch.references.items():
            known = before.get(name)
            if known and self._same_hint(known, reference):
                found.seen.append(known.document_id)
                continue
            if self.runtime.idle:
                found.cut = True
                break
            fetched = fetch(self.runtime, self.connector, self.claim, self.hold, name, reference)
            if isinstance(fetched, Unread):
                self._unread(found, known, name, reference, fetched)
            elif fetched is not None:
                self._sort(found, same, known, fetched)
            elif known:
                found.gone.append(name)
        for name, arrival in batch.documents.items():
            self._sort(found, same, before.get(name), arrival)
        self._describe(found, same)
        return found

    def _sort(self, found: Compared, same: list[tuple[Known, Arrival]], known: Known | None, arrival: Arrival) -> None:
        if known and same_content(self.runtime.host.registry, known, arrival):
            same.append((known, arrival))
        else:
            found.arrivals.append(arrival)

    def _unread(
        self, found: Compared, known: Known | None, name: str, reference: DocumentReference, unread: Unread
    ) -> None:
        """What can't be read has neither vanished nor changed: a known document stays as it is, and is asked for by every
        run until it can be read. What a plugin failed on that has changed is tried again. A new one is listed with the
        reason."""
        if known and (known.trashed or not known.deleted):
            found.rehinted.append((known.document_id, NOT_READ))
            if not (known.failed_at == "sync" or known.trashed):  # else the list has the reason
                found.problems.append(told(unread.error))
            if known.content_hash and not known.deleted and plugin_changed(self.runtime.host.registry, known):
                found.again.append(known.document_id)
            return
        error = describe(unread.error)
        found.arrivals.append(without_content(name, reference, self.claim, error=error, hint=NOT_READ))

    def _describe(self, found: Compared, same: Sequence[tuple[Known, Arrival]]) -> None:
        """Of documents with the content they had: those whose metadata changed arrive, of the others the hint is new."""
        with self.runtime.ledger.read() as tx:
            names = redescribed(tx, same)
        found.arrivals += [arrival for _, arrival in same if arrival.unique_id in names]
        found.rehinted += [(known.document_id, one.change_hint) for known, one in same if one.unique_id not in names]

    def _same_hint(self, known: Known, reference: DocumentReference) -> bool:
        same = reference.change_hint is not None and known.change_hint == reference.change_hint
        return same and not known.deleted and not plugin_changed(self.runtime.host.registry, known)
