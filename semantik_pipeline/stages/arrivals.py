"""Turn what a connector yields, or a caller pushes, into rows for the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semantik_pipeline.documents import DocumentReference, IngestedDocument
from semantik_pipeline.ledger import Transaction
from semantik_pipeline.ledger.ingestion import descriptions
from semantik_pipeline.ledger.ingestion.sync import Arrival, Known, SourceClaim
from semantik_pipeline.stages.chunk_rows import title_of
from semantik_pipeline.stages.parsing import storable, storable_values

if TYPE_CHECKING:
    from semantik_pipeline.plugins.registry import PluginRegistry

#: Number of documents in the first batch of a slice. It is small so that the next stages get work soon. Each later
#: batch may be twice as large as the one before, up to ``sync.batch_size``.
FIRST_BATCH = 25


@dataclass
class Batch:
    """References and documents that are compared with the ledger, and then written to it, together."""

    references: dict[str, DocumentReference] = field(default_factory=dict)
    documents: dict[str, Arrival] = field(default_factory=dict)  # from load_documents: fetched, bodies stored
    removals: list[str] = field(default_factory=list)

    def named(self, unique_id: str) -> Batch:
        """Remove earlier entries for this document, because the last event about a document wins. Returns the batch."""
        self.references.pop(unique_id, None)
        self.documents.pop(unique_id, None)
        if unique_id in self.removals:
            self.removals.remove(unique_id)
        return self

    def __len__(self) -> int:
        return len(self.references) + len(self.documents) + len(self.removals)


def arrival_of(name: str, document: IngestedDocument, reference: DocumentReference | None) -> Arrival:
    """Return the Arrival of a fetched document, with missing values taken from its reference.

    The title from the connector stays unless the document's parser finds another title.
    """
    metadata = storable_values(document.metadata)
    return Arrival(
        unique_id=name,
        content_hash=document.content_hash,
        change_hint=reference.change_hint if reference else None,
        source_type=document.source_type,
        media_type=document.media_type or (reference.media_type if reference else None),
        file_path=storable(document.file_path) if document.file_path else None,
        size=len(document.body),
        title=title_of(metadata),
        metadata=metadata,
        principals=None if document.principals is None else sorted({*document.principals}),
    )


def without_content(
    name: str,
    reference: DocumentReference,
    claim: SourceClaim,
    *,
    skipped: str | None = None,
    error: dict[str, Any] | None = None,
    hint: str | None = None,
) -> Arrival:
    """Return the Arrival of a document that has no body, with the reason.

    ``hint``, if given, replaces the source's own change hint.
    """
    return Arrival(
        unique_id=name,
        content_hash=None,
        change_hint=hint or reference.change_hint,
        source_type=claim.connector,
        media_type=reference.media_type,
        size=reference.size,
        metadata=storable_values(reference.metadata),
        skipped=skipped,
        error=error,
    )


def same_content(registry: PluginRegistry, known: Known, arrival: Arrival) -> bool:
    """Return whether the document's content is unchanged and nothing else requires working on it again."""
    same = arrival.content_hash is not None and known.content_hash == arrival.content_hash
    return same and not known.deleted and not plugin_changed(registry, known)


def plugin_changed(registry: PluginRegistry, known: Known) -> bool:
    """Return whether the document is in quarantine and a plugin of the failed stage has another version here.

    A plugin that is not loaded in this process counts as unchanged: another process may still have the same version.
    """
    if not known.failed_with:
        return False
    loaded = {plugin.id: plugin.manifest.version for plugin in registry}
    failed = (plugin.rpartition(" ") for plugin in known.failed_with.split(", "))
    return any(loaded.get(name, version) != version for name, _, version in failed)


def redescribed(tx: Transaction, same: Sequence[tuple[Known, Arrival]]) -> set[str]:
    """Return the unique ids of documents with unchanged content and a changed description (metadata, title, ...)."""
    before = descriptions.stored(tx, [known.document_id for known, _ in same])
    return {arrival.unique_id for known, arrival in same if before[known.document_id] != descriptions.of(arrival)}
