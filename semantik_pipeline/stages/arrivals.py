"""What a connector says, or a caller gives, on its way into the ledger."""

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

#: Documents in a slice's first batch, so that the stages behind it have something to do soon; each later one may have
#: twice as many, up to ``sync.batch_size``.
FIRST_BATCH = 25


@dataclass
class Batch:
    """References that are compared with the ledger, and written, together."""

    references: dict[str, DocumentReference] = field(default_factory=dict)
    documents: dict[str, Arrival] = field(default_factory=dict)  # from load_documents: fetched, and their bodies stored
    removals: list[str] = field(default_factory=list)

    def named(self, unique_id: str) -> Batch:
        """The last word about a document counts: forget what was said of it before."""
        self.references.pop(unique_id, None)
        self.documents.pop(unique_id, None)
        if unique_id in self.removals:
            self.removals.remove(unique_id)
        return self

    def __len__(self) -> int:
        return len(self.references) + len(self.documents) + len(self.removals)


def arrival_of(name: str, document: IngestedDocument, reference: DocumentReference | None) -> Arrival:
    """A fetched document; what its reference said fills in. Its title stays unless its parser finds another one."""
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
    """A document that has no body, with the reason; ``hint`` stands in the place of the source's own."""
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
    """Whether the document has the content that it had, and there is no reason to work on it again."""
    same = arrival.content_hash is not None and known.content_hash == arrival.content_hash
    return same and not known.deleted and not plugin_changed(registry, known)


def plugin_changed(registry: PluginRegistry, known: Known) -> bool:
    """It is in quarantine, and this process has another version of a plugin of the stage that failed on it. A plugin that
    is not loaded here may be as it was elsewhere."""
    if not known.failed_with:
        return False
    loaded = {plugin.id: plugin.manifest.version for plugin in registry}
    failed = (plugin.rpartition(" ") for plugin in known.failed_with.split(", "))
    return any(loaded.get(name, version) != version for name, _, version in failed)


def redescribed(tx: Transaction, same: Sequence[tuple[Known, Arrival]]) -> set[str]:
    """The unique ids of those documents, their content being what it was, of which something else is said now."""
    before = descriptions.stored(tx, [known.document_id for known, _ in same])
    return {arrival.unique_id for known, arrival in same if before[known.document_id] != descriptions.of(arrival)}
