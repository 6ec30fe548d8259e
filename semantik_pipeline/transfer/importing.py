"""Read a collection from a file.

The collection stays hidden until the file was read to its end and is intact. If an import dies, maintenance removes
what it left, or the next import of that name does.
"""

from __future__ import annotations

import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline import configurations, trash
from semantik_pipeline.blobs import parsed_of
from semantik_pipeline.documents import ParsedDocument, content_hash, short_hash
from semantik_pipeline.errors import Conflict, PipelineError, UnreadableExport
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.catalog import collections as ledger
from semantik_pipeline.ledger.catalog.collections import Collection, Generation
from semantik_pipeline.ledger.documents import content, exports
from semantik_pipeline.ledger.operations import lifecycle
from semantik_pipeline.ledger.retention import trash as bin_ledger
from semantik_pipeline.stages.chunk_rows import point_id
from semantik_pipeline.transfer.archive import EXPORT_AGAIN, MEMBER, inflated, lines, manifest_of, read
from semantik_pipeline.transfer.checking import checked_document, checked_sources
from semantik_pipeline.transfer.fitting import Fit, fit

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

PAUSED = "imported; resume it to sync it from this installation"

#: Seconds that a new import spends on removing what an earlier import of that name left.
CLEANING = 30.0


def import_collection(
    runtime: Runtime, path: Path, *, name: str | None = None, on_progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Create a collection from an export, with its documents, bodies, chunks and vectors, and its sources, paused.

    Returns a dict with the ``operation`` that brings the points into the store, the numbers of items read, and
    ``recomputed``: what must be computed again here, with the reasons.

    ``name``: another name for the collection. Data that collections share is stored under keys computed here, whatever
    keys the file has. If the import fails, nothing of it remains.

    Raises UnreadableExport for a file that is no export, is damaged or cut, or has a newer format; Conflict if the name
    is taken; PluginNotFoundError, PluginConfigError or UsageError if a plugin is missing here, or a source has values
    that no source may have.
    """
    members = read(path)
    manifest = manifest_of(path, members)
    name = name or str(manifest["collection"])
    configurations.check_name(name)
    fitted = fit(runtime.host, manifest)
    origins, said = checked_sources(runtime.host, manifest["sources"])
    _clear(runtime, name)
    with runtime.ledger.write() as tx:
        if ledger.find_collection(tx, name, trashed=True) is not None:
            raise _taken(name)
        made = ledger.create_collection(tx, name, **fitted.made(), hidden=True)
        if made is None:  # another process created it in this moment
            raise _taken(name)
        operation_id = lifecycle.begin(tx, made.id, "import", detail={"file": path.name})
        _RUNNING.add(made.id)
        owners = [exports.write_source(tx, made.id, operation_id, source, paused=PAUSED) for source in origins]
    try:
        told = _Reader(runtime, made, operation_id, owners, fitted, on_progress).read(members)
        with runtime.ledger.write() as tx:
            if not exports.reveal(tx, made.id, operation_id):
                raise Conflict(f"{name!r} was deleted while it was being imported.")
            detail = {"operation": operation_id, **told}
            audit_trail.record(tx, event="collection.import", subject=name, detail=detail)
    except BaseException as error:
        _give_up(runtime, made.id)
        if isinstance(error, KeyError | TypeError | ValueError | zlib.error) and not isinstance(error, PipelineError):
            raise UnreadableExport(f"{path} is damaged: {error!r}.", EXPORT_AGAIN) from error
        raise
    finally:
        _RUNNING.discard(made.id)
    for stage in ("upsert", "chunk", "embed", "extract"):
        runtime.ring(stage)
    recomputed = {"recomputed": list(fitted.recomputed), "warnings": [*fitted.warnings, *said]}
    return {"collection": name, "operation": operation_id, "sources": len(owners), **told, **recomputed}


def _taken(name: str) -> Conflict:
    return Conflict(f"The collection {name!r} already exists.", "Give another name with --name.")


#: Ids of the collections that this process is importing.
_RUNNING: set[int] = set()


def _clear(runtime: Runtime, name: str) -> None:
    """Remove what a dead import of that name left. Raises Conflict if that import is still running."""
    with runtime.ledger.read() as tx:
        there = ledger.find_collection(tx, name, trashed=True)
        silent = exports.silence(tx, there.id) if there else None
    if there is None or silent is None:
        return
    if there.id in _RUNNING or (runtime.settings.fleet and silent < exports.SILENCE):
        raise Conflict(
            f"The collection {name!r} is being imported now.", "Wait until that has finished, or give another --name."
        )
    _give_up(runtime, there.id)


def _give_up(runtime: Runtime, collection_id: int) -> None:
    """Remove what was read, as far as possible now. Maintenance removes the rest."""
    with runtime.ledger.write() as tx:
        bin_ledger.bin_collection(tx, collection_id, purge=True)
    with suppress(PipelineError):
        trash.advance(runtime, seconds=CLEANING)
    runtime.ring("maintenance")


class _Reader:
    """Writes the members of an export into a new collection, a page at a time."""

    def __init__(
        self,
        runtime: Runtime,
        collection: Collection,
        operation_id: int,
        owners: list[int],
        fitted: Fit,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        assert collection.active_generation is not None
        self._runtime, self._collection, self._operation = runtime, collection, operation_id
        self._generation: Generation = runtime.generation(collection.active_generation)
        self._owners, self._fit, self._on_progress = owners, fitted, on_progress
        self._told: Counter[str] = Counter(documents=0, chunks=0, vectors=0, bodies=0)
        self._begin("", [])

    def _begin(self, page: str, rows: list[tuple[int, dict[str, Any], dict[str, Any]]]) -> None:
        self._page = page
        self._rows = rows
        self._ids: list[int] = []
        self._written: Counter[int] = Counter()  # number of chunks, by document position in the page
        self._seen: Counter[tuple[int, str]] = Counter()  # occurrences of each text, by document position
        self._vectors: list[str | None] = []  # keys of the current part's vectors
        self._texts: set[str] = set()  # hashes of all texts read in this page
        self._extracted: list[dict[str, Any]] = []

    def read(self, members: Iterator[tuple[str, bytes]]) -> dict[str, int]:
        """Read all members. Returns the number of items read, by kind."""
        for member, body in members:
            found = MEMBER.fullmatch(member)
            if found is None:
                continue
            page, listed, _, part, kind, key = found.groups()
            if page != self._page:
                self._end()
            if listed == "documents":
                self._read_documents(page, lines(body))
            elif listed == "extractions":
                self._extracted += lines(body)  # their texts may come later
            elif part == "chunks.jsonl":
                self._read_chunks(lines(body))
            elif part == "vectors.npy":
                self._read_vectors(body)
            else:
                self._read_body(kind, key, body)
        self._end()
        return dict(self._told)

    def _read_documents(self, page: str, listed: list[dict[str, Any]]) -> None:
        rows = []
        for row in listed:
            document = checked_document(row["document"])
            rows.append((self._owners[row["source"]], document, self._unit(row, document)))
        self._begin(page, rows)
        with self._runtime.ledger.write() as tx:
            if not exports.sign_of_life(tx, self._collection.id):
                raise Conflict(f"{self._collection.name!r} was deleted while it was being imported.")
            places = {"collection_id": self._collection.id, "generation_id": self._generation.id}
            self._ids = exports.write_documents(tx, rows, operation_id=self._operation, **places)
        self._told["documents"] += len(rows)
        if self._on_progress is not None:
            self._on_progress(self._told["documents"])

    def _unit(self, row: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
        """Return the unit's values here.

        A unit that a stage has to process is held until its whole page has been read.
        """
        unit = {name: row["unit"][name] for name in exports.UNIT}
        at_rest = unit["stage"] in ("skipped", "quarantined")
        held = {"held_by": None if at_rest else self._operation}
        if at_rest:
            return {**unit, **held, "chunks": 0, "parse_key": None, "text_hash": None}
        if unit["parse_key"] != self._fit.parse_key(self._runtime.host, document):
            unit["parse_key"] = None  # a parser here would make a different parse, which is made when needed
        return {
            **unit,
            **held,
            "stage": self._fit.stage_of(unit["stage"]),
            "goal": "indexed",
            "reason": None,
            "error": None,
        }

    def _read_chunks(self, listed: list[dict[str, Any]]) -> None:
        rows, self._vectors = [], []
        by_place: dict[int, str | None] = {}
        for row in listed:
            at = row["document"]
            source_id, document, _ = self._rows[at]
            text_hash = short_hash(row["text"])
            occurrence = self._seen[at, text_hash]
            self._seen[at, text_hash] += 1
            self._written[at] += 1
            self._texts.add(text_hash)
            key = self._fit.embed_key(row["lead"] + row["text"])
            if row["vector"] is not None:
                by_place[row["vector"]] = key
            owner = (self._collection.id, source_id, document["unique_id"])
            chunk = {name: row[name] for name in exports.CHUNK}
            same = {"text_hash": text_hash, "embed_key": key, "point_id": point_id(*owner, text_hash, occurrence)}
            rows.append((self._ids[at], {**chunk, **same}))
        self._vectors = [by_place.get(place) for place in range(len(by_place))]
        if self._fit.chunks_alike:
            with self._runtime.ledger.write() as tx:
                exports.write_chunks(tx, self._generation.id, rows)
            self._told["chunks"] += len(rows)

    def _read_vectors(self, body: bytes) -> None:
        """Save the vectors of the part before. They are dropped if the fingerprint differs."""
        import numpy as np

        array = np.load(io.BytesIO(body), allow_pickle=False)
        if array.ndim != 2 or array.dtype != np.dtype("<f4") or len(array) != len(self._vectors):
            raise UnreadableExport("The export is damaged: its vectors do not belong to its chunks.", EXPORT_AGAIN)
        if not self._fit.embeds_alike or not self._fit.chunks_alike:
            return
        if len(array) and array.shape[1] != self._generation.dimension:
            raise UnreadableExport("The export is damaged: its vectors have another dimension.", EXPORT_AGAIN)
        if not np.isfinite(array).all():
            raise UnreadableExport("The export is damaged: some of its vectors are not finite.", EXPORT_AGAIN)
        found = {key: row.tobytes() for key, row in zip(self._vectors, array, strict=True) if key is not None}
        with self._runtime.ledger.write() as tx:
            content.save_embeddings(tx, found)
        self._told["vectors"] += len(found)

    def _save_extractions(self) -> None:
        """Save results by text and fingerprint, for texts that were read and extractors that exist here."""
        mine = {*self._fit.fingerprints["extract"].values()}
        found = {
            (row["text_hash"], row["fingerprint"]): row["result"]
            for row in self._extracted
            if row["text_hash"] in self._texts and row["fingerprint"] in mine
        }
        with self._runtime.ledger.write() as tx:
            content.save_extractions(tx, found)

    def _read_body(self, kind: str, key: str, body: bytes) -> None:
        if kind == "raw":
            if content_hash(body) != key:
                raise UnreadableExport(f"The export is damaged: a body does not match its name {key}.", EXPORT_AGAIN)
            self._runtime.blobs.put_raw(key, body)
        else:
            parsed = _parsed(body)
            self._texts.add(short_hash(parsed.text))
            if key not in {unit["parse_key"] for _, _, unit in self._rows}:
                return
            self._runtime.blobs.put_parsed(key, parsed)
        self._told["bodies"] += 1

    def _end(self) -> None:
        """End a page: release its units to the stages. Units with missing chunks are chunked again."""
        if self._extracted:
            self._save_extractions()
        stages = {}
        for document_id, (at, (_, _, unit)) in zip(self._ids, enumerate(self._rows), strict=True):
            if unit["held_by"] is not None:
                whole = self._fit.chunks_alike and self._written[at] == unit["chunks"] > 0
                stages[document_id] = unit["stage"] if whole else "chunk"
        if stages:
            with self._runtime.ledger.write() as tx:
                exports.queue(tx, self._generation.id, stages)
            for stage in sorted(set(stages.values())):
                self._runtime.ring(stage)
        self._begin("", [])


def _parsed(body: bytes) -> ParsedDocument:
    """Return the parse in a parsed body.

    Raises UnreadableExport, or an error that the importer reports as a damaged file.
    """
    found = parsed_of(json.loads(inflated(body)))
    texts = [found.text, *(element.kind for element in found.elements)]
    places = [place for element in found.elements for place in (element.start, element.end)]
    if not all(isinstance(one, str) for one in texts) or not all(isinstance(one, int) for one in places):
        raise UnreadableExport("The export is damaged: a parsed body is not valid.", EXPORT_AGAIN)
    return found
