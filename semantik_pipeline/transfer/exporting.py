"""Write a collection into a file, page by page, so that memory is bounded by a page and not by the collection."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import Conflict
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.catalog.collections import Generation, get_collection, get_generation
from semantik_pipeline.ledger.documents import content, exports
from semantik_pipeline.plugins.secrets import redact, scrub_within
from semantik_pipeline.transfer.archive import FORMAT, LARGEST, MANIFEST, VERSION, Writer, writing

if TYPE_CHECKING:
    from semantik_pipeline.plugins.host import PluginHost
    from semantik_pipeline.runtime import Runtime

#: Number of documents per page, and of chunks per part of a page.
PAGE, PART = 200, 1000


def export(runtime: Runtime, name: str, path: Path, on_progress: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Write a collection's active generation to ``path``: documents, chunks, vectors, extractions, bodies, sources.

    Documents that are still being processed are written with their bodies, and the importing installation processes
    them. A document that changes during the export is in the file in its old or its new state. Documents in the trash
    are not exported. ``on_progress`` gets the number of documents written.

    Returns what was written. Raises UsageError for a collection that does not exist or a file that does. Raises
    Conflict, and leaves no file, if the exported generation is removed in the meantime because another one took its
    place.
    """
    with runtime.ledger.read() as tx:
        found = get_collection(tx, name)
        assert found.active_generation is not None
        generation = get_generation(tx, found.active_generation)
        origins = exports.sources_of(tx, found.id)
    with writing(path) as writer:
        writer.add_lines(MANIFEST, [_manifest(runtime.host, found.name, found.config, generation, origins)])
        told = _Pages(runtime, generation, writer, [row["id"] for row in origins]).write(found.id, on_progress)
    answer = {"collection": name, "file": str(path), "bytes": path.stat().st_size, "sources": len(origins), **told}
    with runtime.ledger.write() as tx:
        audit_trail.record(tx, event="collection.export", subject=name, detail=told)
    return answer


def _manifest(
    host: PluginHost, name: str, config: dict[str, Any], generation: Generation, origins: list[dict[str, Any]]
) -> dict[str, Any]:
    from semantik_pipeline import __version__

    return {
        "format": FORMAT,
        "version": VERSION,
        "program": __version__,
        "collection": name,
        "config": redacted(host, config),
        "generation": {
            "config": redacted(host, generation.config),
            "fingerprints": generation.fingerprints,
            "dimension": generation.dimension,
        },
        "sources": [_source(host, row) for row in origins],
    }


def _source(host: PluginHost, row: dict[str, Any]) -> dict[str, Any]:
    """Return a source's values for the file. A secret that is in its configuration by mistake is not exported."""
    return {**{field: row[field] for field in exports.SOURCE}, "config": host.redacted(row["connector"], row["config"])}


def redacted(host: PluginHost, config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a collection or a generation without secrets that are in it by mistake."""
    shown = _by_plugin(host, config)
    parsers = shown.get("parsers") or {}
    options = {name: host.redacted(name, given) for name, given in (parsers.get("options") or {}).items()}
    return redact({**shown, "parsers": {**parsers, "options": options}} if options else shown)


def _by_plugin(host: PluginHost, value: Any) -> Any:
    """Return the value with the options of each plugin named in it redacted by that plugin's schema."""
    if isinstance(value, list):
        return [_by_plugin(host, one) for one in value]
    if not isinstance(value, dict):
        return value
    plugin, options = value.get("plugin"), value.get("options")
    if isinstance(plugin, str) and isinstance(options, dict):
        return {**value, "options": host.redacted(plugin, options)}
    return {name: _by_plugin(host, one) for name, one in value.items()}


def _unit(row: dict[str, Any]) -> dict[str, Any]:
    """Return the unit's values with secrets in error texts removed, as everywhere such texts are shown."""
    return {**row, **{name: scrub_within(row[name]) for name in ("error", "reason", "notes")}}


class _Pages:
    """Writes the pages of one generation."""

    def __init__(self, runtime: Runtime, generation: Generation, writer: Writer, source_ids: Sequence[int]) -> None:
        self._runtime, self._generation, self._writer = runtime, generation, writer
        self._places = {source_id: place for place, source_id in enumerate(source_ids)}
        self._told = {"documents": 0, "chunks": 0, "vectors": 0, "bodies": 0}

    def write(self, collection_id: int, on_progress: Callable[[int], None] | None) -> dict[str, int]:
        """Write all pages. Returns the number of written items, by kind."""
        after, number = 0, 0
        while True:
            with self._runtime.ledger.read() as tx:
                rows = exports.page(tx, collection_id, self._generation.id, after=after, limit=PAGE)
                whole = exports.is_whole(tx, collection_id, self._generation.id, self._generation.index)
            if not whole:
                raise Conflict(
                    f"What was exported of {self._generation.collection!r} was removed meanwhile: generation "
                    f"{self._generation.id} has retired, or the collection was deleted.",
                    "Export it again. reindex.rollback_window sets how long a replaced generation is kept.",
                )
            if not rows:
                return self._told
            after = rows[-1]["id"]
            self._write_page(f"{number:06}", [row for row in rows if row["source_id"] in self._places])
            number += 1
            if on_progress is not None:
                on_progress(self._told["documents"])

    def _write_page(self, page: str, rows: list[dict[str, Any]]) -> None:
        told = [
            {"source": self._places[row["source_id"]], "document": row["document"], "unit": _unit(row["unit"])}
            for row in rows
        ]
        self._writer.add_lines(f"{page}/documents.jsonl", told)
        self._told["documents"] += len(rows)
        hashes = {row["unit"]["text_hash"] for row in rows if row["unit"]["text_hash"]}
        for part, listed in enumerate(self._parts(rows)):
            self._write_part(f"{page}/{part:04}", listed)
            hashes |= {chunk["text_hash"] for _, chunk in listed}
        self._write_extractions(page, sorted(hashes))
        for kind, keys in (
            ("raw", {row["document"]["content_hash"] for row in rows}),
            ("parsed", {row["unit"]["parse_key"] for row in rows}),
        ):
            for key in sorted(filter(None, keys)):
                body = self._runtime.blobs.get_body(kind, key)
                if body is not None and len(body) <= LARGEST[kind]:  # a missing body is a cache miss, here and there
                    self._writer.add(f"{page}/{kind}/{key}", body)
                    self._told["bodies"] += 1

    def _parts(self, rows: list[dict[str, Any]]) -> Iterator[list[tuple[int, dict[str, Any]]]]:
        """Yield the chunks of indexed documents as lists of ``(document's position in the page, chunk)``."""
        indexed = {row["id"]: row["epoch"] for row in rows if row["unit"]["stage"] == "indexed" and row["epoch"]}
        places = {row["id"]: place for place, row in enumerate(rows)}
        if indexed:
            for listed in exports.chunk_pages(self._runtime.ledger, self._generation.id, indexed, limit=PART):
                yield [(places[document_id], chunk) for document_id, chunk in listed]

    def _write_part(self, name: str, listed: list[tuple[int, dict[str, Any]]]) -> None:
        import numpy as np

        with self._runtime.ledger.read() as tx:
            # Rows that also hold a model's sparse vectors have no fixed length, so they are not exported. The importing
            # installation computes them again.
            alike = not self._generation.config["sparse"].get("plugin")
            vectors = content.load_embeddings(tx, {chunk["embed_key"] for _, chunk in listed} if alike else ())
        keys = sorted(vectors)
        places = {key: place for place, key in enumerate(keys)}
        rows = [{"document": at, **chunk, "vector": places.get(chunk["embed_key"])} for at, chunk in listed]
        self._writer.add_lines(f"{name}/chunks.jsonl", rows)
        array = np.frombuffer(b"".join(vectors[key] for key in keys), dtype="<f4")
        buffer = io.BytesIO()
        np.save(buffer, array.reshape(len(keys), -1) if keys else array.reshape(0, self._generation.dimension))
        self._writer.add(f"{name}/vectors.npy", buffer.getvalue())
        self._told["chunks"] += len(rows)
        self._told["vectors"] += len(keys)

    def _write_extractions(self, page: str, hashes: list[str]) -> None:
        """Write the results for these texts from the generation's own extractors, which the manifest names."""
        fingerprints = self._generation.fingerprints["extract"].values()
        with self._runtime.ledger.read() as tx:
            found = content.load_extractions(tx, [(text, one) for text in hashes for one in fingerprints])
        rows = [{"text_hash": text, "fingerprint": one, "result": found[text, one]} for text, one in sorted(found)]
        self._writer.add_lines(f"{page}/extractions.jsonl", rows)
