"""Build the points of a document from chunk rows, embeddings and extractions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from semantik_pipeline.documents import Point
from semantik_pipeline.ledger.catalog.collections import Generation
from semantik_pipeline.ledger.documents import content
from semantik_pipeline.ledger.documents.content import ChunkRow
from semantik_pipeline.ledger.queue.work import Unit
from semantik_pipeline.stages.extracting import merged
from semantik_pipeline.stages.vectors import unpacked

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


@dataclass
class Batch:
    """What is sent to the store for one epoch.

    ``unchanged`` holds ``(fields, point ids)``: points of which only these fields are new.
    """

    points: list[Point] = field(default_factory=list)
    unchanged: list[tuple[dict[str, Any], list[str]]] = field(default_factory=list)


class PointBuilder:
    """Collects the points of several documents, by epoch."""

    def __init__(self, runtime: Runtime, generation: Generation) -> None:
        self._runtime = runtime
        self._generation = generation
        self._batches: dict[int, Batch] = {}
        choices = generation.config["extraction"]["chunk"]
        self._extractors = {one["plugin"]: generation.fingerprints["extract"][one["plugin"]] for one in choices}
        self.lacks: dict[tuple[int, int], str] = {}  # unit key -> the stage that makes what the unit lacks

    def batches(self) -> Iterator[tuple[int, Batch]]:
        yield from sorted(self._batches.items())

    def add(self, chunked: list[tuple[Unit, list[ChunkRow]]]) -> list[Unit]:
        """Add chunks of units. Returns the units whose chunks were added.

        Units that lack an embedding or an extraction are not added; they are in :attr:`lacks`.
        """
        with self._runtime.ledger.read() as tx:
            stored = [{} if unit.progress.get("rewrite") else _stored(tx, unit, rows) for unit, rows in chunked]
            changed = [
                [row for row in rows if known.get(row.point_id) != row.signature]
                for (_, rows), known in zip(chunked, stored, strict=True)
            ]
            every = [row for rows in changed for row in rows]
            vectors = content.load_embeddings(tx, [row.embed_key for row in every])
            extractions = self._extractions(tx, every)
        ready = []
        for (unit, rows), known, fresh in zip(chunked, stored, changed, strict=True):
            if not all(row.embed_key in vectors for row in fresh):
                self.lacks[unit.key] = "embed"
            elif self._unextracted(unit, fresh, extractions):
                self.lacks[unit.key] = "extract"
            else:
                batch = self._batches.setdefault(unit.epoch, Batch())
                kept = [row.point_id for row in rows if known.get(row.point_id) == row.signature]
                if kept:
                    batch.unchanged.append((of_revision(unit), kept))
                self._add_points(batch, unit, fresh, vectors, extractions)
                ready.append(unit)
        return ready

    def _add_points(
        self,
        batch: Batch,
        unit: Unit,
        rows: list[ChunkRow],
        vectors: dict[str, bytes],
        extractions: dict[tuple[str, str], Any],
    ) -> None:
        sparse, dimension = self._generation.config["sparse"], self._generation.dimension
        title, heading = sparse.get("title_weight", 1), sparse.get("heading_weight", 1)
        revision, merges = of_revision(unit), dict[str, dict[str, Any]]()
        for row in rows:
            if row.text_hash not in merges:
                own = [extractions.get((row.text_hash, one)) for one in self._extractors.values()]
                merges[row.text_hash] = merged(own).to_searchable_dict() if own else {}
            payload = build_payload(unit, row, merges[row.text_hash], revision)
            vector, terms = unpacked(vectors[row.embed_key], dimension)
            batch.points.append(
                Point(
                    id=row.point_id,
                    vector=vector,
                    sparse_text=sparse_text(unit, row, title, heading),
                    payload=payload,
                    language=payload.get("language"),
                    sparse=terms if sparse.get("plugin") else None,
                )
            )

    def _extractions(self, tx: content.Transaction, rows: list[ChunkRow]) -> dict[tuple[str, str], Any]:
        """Return the extraction results of the rows, by ``(text hash, fingerprint)``."""
        hashes = {row.text_hash for row in rows}
        return content.load_extractions(tx, [(text, one) for text in hashes for one in self._extractors.values()])

    def _unextracted(self, unit: Unit, rows: list[ChunkRow], found: dict[tuple[str, str], Any]) -> bool:
        """Return whether a result is missing although its extractor noted no failure.

        This happens if another document with the same text has been deleted in the meantime.
        """
        expected = [one for plugin, one in self._extractors.items() if plugin not in (unit.notes or {})]
        return any((row.text_hash, one) not in found for row in rows for one in expected)


def _stored(tx: content.Transaction, unit: Unit, rows: list[ChunkRow]) -> dict[str, str]:
    """Return, by point id, the signatures of these chunks' points that the store already has.

    They come from the last indexed revision of the document.
    """
    before = unit.indexed_chunks_epoch
    if before is None or before == unit.chunks_epoch:
        return {}
    return content.signatures(tx, unit, before, [row.point_id for row in rows])


#: The payload value for an empty list of principals, because a store treats an empty list like a missing one. No
#: principal has this name.
NOBODY = ""


def build_payload(
    unit: Unit, row: ChunkRow, extracted: dict[str, Any], revision: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return everything that filters, hits and verification need. Absent parts are left out.

    ``revision`` is the result of :func:`of_revision`, if the caller already has it.
    """
    payload: dict[str, Any] = {
        "document_id": unit.document_id,
        "document": unit.unique_id,
        "signature": row.signature,
        "source": unit.source,
        "source_type": unit.source_type,
        "title": unit.title,
        "path": unit.file_path,
        "media_type": unit.media_type,
        "text": row.text,
        "start": row.start,
        "end": row.end,
        "ordinal": row.ordinal,
        "token_count": row.token_count,
        "page": row.metadata.get("page"),
        "section": row.metadata.get("section"),
        "metadata": unit.metadata,
        "principals": [NOBODY] if unit.principals == [] else unit.principals,
        **(of_revision(unit) if revision is None else revision),
        **(unit.extracted or {}),
        **extracted,
    }
    return {name: value for name, value in payload.items() if value is not None}


def of_revision(unit: Unit) -> dict[str, Any]:
    """Return the fields that change with every revision, even for unchanged chunks: epoch, size and times (UTC)."""
    said = unit.metadata.get("modified") or unit.metadata.get("date")
    fields = {
        "epoch": unit.epoch,
        "size": unit.size,
        "created": instant(unit.metadata.get("created")) or instant(unit.created_at),
        "modified": instant(said) or instant(unit.changed_at),
        "indexed": instant(unit.updated_at),
    }
    return {name: value for name, value in fields.items() if value is not None}


def instant(told: Any) -> str | None:
    """Return a time in RFC 3339 form, in UTC, with a resolution of seconds; None if the value is not a time.

    Accepts an ISO 8601 date (UTC if it has no zone), or a float of seconds since 1970.
    """
    try:
        at = datetime.fromtimestamp(told, UTC) if isinstance(told, float) else datetime.fromisoformat(told)
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def sparse_text(unit: Unit, row: ChunkRow, title_weight: int = 1, heading_weight: int = 1) -> str:
    """Return the text of a chunk for the BM25 leg: title and headings, each repeated by its weight, then its text.

    A word in the title thus counts as often as the title's weight before its count is saturated. This is BM25F with one
    length for all fields (Robertson, Zaragoza and Taylor, "Simple BM25 extension to multiple weighted fields", CIKM
    2004), and it works in every store. A title that is also a heading counts once, with the larger weight.
    """
    weights: dict[str, int] = dict.fromkeys(row.metadata.get("section") or [], heading_weight)
    if unit.title:
        weights = {unit.title: max(title_weight, weights.pop(unit.title, 0)), **weights}
    return "\n".join([line for line, weight in weights.items() if line for _ in range(weight)] + [row.text])
