"""Estimate the cost of a build: reusable results, results to compute, duration and disk space."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from semantik_pipeline.documents import short_hash
from semantik_pipeline.errors import PipelineError
from semantik_pipeline.generations.outdated import changed_stages, differences, reasons
from semantik_pipeline.ledger.catalog import collections, lineage
from semantik_pipeline.ledger.generations import estimates
from semantik_pipeline.stages.parsing import Chunked, ChunkRequest, choose_parser, parse_and_chunk, plugins_of

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.lineage import Record
    from semantik_pipeline.ledger.generations.builds import Frozen
    from semantik_pipeline.runtime import Runtime

#: Maximum number of documents, and of their bytes, that are chunked anew to estimate the number of chunks.
SAMPLE, SAMPLE_BYTES = 32, 2_000_000

#: Number of texts that are embedded to measure the speed, if no earlier operation shows it.
TRIED = 16

#: Bytes that a point needs in addition to its vectors (which are stored in the ledger and in the store): payload,
#: sparse vector and rows. The first number is per character of text, the second is fixed. Measured on the project's own
#: documents.
PER_CHARACTER, PER_POINT = 6.0, 1500


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The estimate for a build.

    ``reuse`` holds, for each stage, how much is reused and the total. ``texts_to_embed`` is the number of texts for the
    model. If ``estimated`` is true, it comes from ``sampled_documents`` documents that were chunked anew.
    ``embed_seconds`` is None if unknown. ``disk_bytes`` is needed while both builds are kept.
    """

    collection: str
    changes: list[str]
    reasons: list[str]
    stages_changed: list[str]
    documents: int
    chunks: int
    reuse: dict[str, dict[str, int]]
    texts_to_embed: int
    estimated: bool
    sampled_documents: int
    embed_seconds: float | None
    disk_bytes: int
    dimension: int
    active: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def plan(runtime: Runtime, collection: str, changes: Mapping[str, Any] | None = None) -> Plan:
    """Estimate the build that :func:`.reindex` with these changes would make. Writes nothing.

    Raises UsageError and PluginConfigError for changes that are not valid.
    """
    from semantik_pipeline.generations.reindex import wanted

    with runtime.ledger.read() as tx:
        found = collections.get_collection(tx, collection)
        active = lineage.active(tx, found.id)
        size = estimates.size(tx, found.id, active.id)
    frozen = wanted(runtime, found, changes or {})
    stages = changed_stages(active.fingerprints, frozen.fingerprints)
    parsed = _parsed_alike(runtime, found.id, active, frozen)
    chunked = parsed if "chunk" not in stages else 0
    look = _Look(chunks=size.chunks)
    if chunked < size.documents and size.chunks:
        look = _sampled(runtime, found.id, active, frozen, size)
    embed = look.embed if look.sampled else _to_embed(runtime, active, stages, frozen.fingerprints["embed"])
    return Plan(
        collection=collection,
        changes=differences(active.config, frozen.config),
        reasons=reasons(runtime.host, frozen.wanted, active),
        stages_changed=stages,
        documents=size.documents,
        chunks=look.chunks,
        reuse={
            "parse": {"documents": parsed, "total": size.documents},
            "chunk": {"documents": chunked, "total": size.documents},
            "extract": _extracted(runtime, active, frozen, look.chunks, chunked == size.documents),
            "embed": {"chunks": max(0, look.chunks - embed), "total": look.chunks},
        },
        texts_to_embed=embed,
        estimated=look.sampled > 0,
        sampled_documents=look.sampled,
        embed_seconds=_seconds(runtime, found.id, frozen, embed, "embed" not in stages, look.texts),
        disk_bytes=int(look.chunks * (8 * frozen.dimension + PER_POINT + PER_CHARACTER * size.characters)),
        dimension=frozen.dimension,
        active={"generation": active.id, "dimension": active.dimension},
    )


def _parsed_alike(runtime: Runtime, collection_id: int, active: Record, frozen: Frozen) -> int:
    """Return the number of documents whose stored parse equals what the build would make."""
    alike: dict[tuple[str | None, str], bool] = {}
    count = 0
    with runtime.ledger.read() as tx:
        for media_type, path in estimates.kinds_of_files(tx, collection_id):
            kind = (media_type, (path or "").rpartition(".")[2].lower())
            if kind not in alike:
                built = _parser(runtime, active.config, active.fingerprints, media_type, path)
                alike[kind] = built == _parser(runtime, frozen.config, frozen.fingerprints, media_type, path)
            count += alike[kind]
    return count


def _parser(
    runtime: Runtime, config: dict[str, Any], fingerprints: dict[str, Any], media_type: str | None, path: str | None
) -> str | None:
    """Return the fingerprint of the parser that a configuration chooses for such files; None if it chooses none."""
    parsers, by_type = runtime.host.registry.of_kind("parser"), config["parsers"]["by_media_type"]
    try:
        name = choose_parser(parsers, media_type=media_type, file_path=path, by_media_type=by_type)
    except PipelineError:
        return None
    return fingerprints["parse"].get(name)


def _to_embed(runtime: Runtime, active: Record, stages: list[str], fingerprint: str) -> int:
    """Return the number of texts to embed if the chunks stay the same. This is a count, not an estimate."""
    with runtime.ledger.read() as tx:
        if "embed" not in stages:
            return estimates.unembedded(tx, active.id)
        known = 0
        for inputs in estimates.inputs(tx, active.id):
            known += estimates.known_keys(tx, sorted({short_hash(fingerprint, text) for text in inputs}))
        return max(0, estimates.distinct_inputs(tx, active.id) - known)


def _extracted(runtime: Runtime, active: Record, frozen: Frozen, chunks: int, alike: bool) -> dict[str, int]:
    """Return the number of chunk texts that extractors have already seen, and the total.

    Both are summed over the extractors that read chunks.
    """
    choices = [choice["plugin"] for choice in frozen.config["extraction"]["chunk"]]
    if not choices:
        return {"texts": 0, "total": 0}
    seen = 0
    with runtime.ledger.read() as tx:
        total = estimates.distinct_inputs(tx, active.id) if alike else chunks
        for plugin in choices if alike else ():
            seen += total - estimates.unextracted(tx, active.id, frozen.fingerprints["extract"][plugin])
    return {"texts": max(0, seen), "total": total * len(choices)}


@dataclass(frozen=True, kw_only=True)
class _Look:
    """The result of chunking sampled documents anew."""

    chunks: int
    embed: int = 0
    sampled: int = 0
    texts: tuple[str, ...] = ()


def _sampled(runtime: Runtime, collection_id: int, active: Record, frozen: Frozen, size: estimates.Size) -> _Look:
    with runtime.ledger.read() as tx:
        rows = estimates.sample(tx, collection_id, active.id, SAMPLE)
    inputs: list[str] = []
    before = after = looked = taken = 0
    for row in rows:
        taken += row["size"] or 0
        if looked and taken > SAMPLE_BYTES:
            break
        chunked = _chunk(runtime, frozen, row)
        if chunked is None:
            continue
        looked += 1
        before += row["chunks"]
        after += len(chunked.chunks)
        inputs += [lead + chunk.text for lead, chunk in zip(chunked.leads, chunked.chunks, strict=True)]
    if not looked or not before:
        return _Look(chunks=size.chunks, embed=size.chunks, sampled=looked)
    chunks = round(size.chunks * after / before)
    keys = sorted({short_hash(frozen.fingerprints["embed"], text) for text in inputs})
    with runtime.ledger.read() as tx:
        known = estimates.known_keys(tx, keys)
    embed = round(chunks * (len(keys) - known) / after) if after else 0
    return _Look(chunks=chunks, embed=embed, sampled=looked, texts=tuple(inputs[:TRIED]))


def _chunk(runtime: Runtime, frozen: Frozen, row: dict[str, Any]) -> Chunked | None:
    """Return a document's chunks as the build would make them; None if that fails here."""
    config = frozen.config
    body = runtime.blobs.get_raw(row["content_hash"] or "")
    if body is None:
        return None
    try:
        parser = choose_parser(
            runtime.host.registry.of_kind("parser"),
            media_type=row["media_type"],
            file_path=row["file_path"],
            by_media_type=config["parsers"]["by_media_type"],
        )
        request = ChunkRequest(
            content=body,
            parsed=None,
            file_path=row["file_path"],
            media_type=row["media_type"],
            metadata=row["metadata"],
            **plugins_of(config, parser),
        )
        answers = runtime.children.run(
            parse_and_chunk,
            [request],
            deadline=runtime.settings.child.deadline_of(len(body)),
            services={"embed": lambda texts: _embed(runtime, frozen, texts)},
        )
    except PipelineError:
        return None
    return answers[0] if isinstance(answers[0], Chunked) else None


def _embed(runtime: Runtime, frozen: Frozen, texts: list[str]) -> Any:
    choice = frozen.config["embedding"]
    model = runtime.host.instance(choice["plugin"], choice["options"], frozen=True, kind="embedding")
    return runtime.host.call(model.embed_texts, texts, batch_size=runtime.settings.embed.batch_size)


def _seconds(
    runtime: Runtime, collection_id: int, frozen: Frozen, embed: int, same_model: bool, texts: tuple[str, ...]
) -> float | None:
    """Return the estimated seconds for embedding, or None if unknown.

    If the model stays the same, it uses the speed of the last operations. Otherwise this process embeds some texts to
    measure it, if it can.
    """
    if not embed:
        return 0.0
    with runtime.ledger.read() as tx:
        rate = estimates.embedding_rate(tx, collection_id) if same_model else None
    if rate is None and texts and runtime.embeds and not runtime.settings.fleet:
        try:
            _embed(runtime, frozen, list(texts[:1]))  # loads the model
            began = time.monotonic()
            _embed(runtime, frozen, list(texts))
            rate = len(texts) / max(time.monotonic() - began, 1e-3)
        except PipelineError:
            rate = None
    return round(embed / rate, 1) if rate else None
