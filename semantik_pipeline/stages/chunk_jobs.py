"""The units of a claim as requests to the child that chunks them: which parser, and the body or its parse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from semantik_pipeline.contracts.media_names import is_text_type
from semantik_pipeline.errors import PermanentError
from semantik_pipeline.ledger.ingestion import revisions
from semantik_pipeline.ledger.queue.work import Unit
from semantik_pipeline.stages.bodies import read_ahead
from semantik_pipeline.stages.claims import Held
from semantik_pipeline.stages.parsing import ChunkRequest, chosen, plugins_of
from semantik_pipeline.stages.unit_errors import fail

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.settings import Child


@dataclass(frozen=True, kw_only=True)
class Job:
    """A unit with the request for its child."""

    unit: Unit
    parse_key: str
    request: ChunkRequest


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """What the blobs have of a unit: its parse, packed, or else its body."""

    parser: str
    parse_key: str
    packed: bytes | None
    body: bytes | None


def jobs(runtime: Runtime, held: Held, units: Sequence[Unit]) -> Iterator[Job]:
    """Yield the units of the claim with their requests. A unit for which no request can be made fails alone."""
    for unit, stored in read_ahead(runtime, units, partial(_read, runtime)):
        try:
            if isinstance(stored, Exception):
                raise stored
            job = _job(runtime, unit, stored)
        except Exception as error:
            fail(runtime, held.claim, [unit], error, alone=True)
        else:
            yield job


def _read(runtime: Runtime, unit: Unit) -> _Stored:
    _refuse_large(unit, runtime.settings.child)
    parser, parse_key = parse_key_of(runtime, unit)
    packed = runtime.blobs.get_body("parsed", parse_key)
    body = None if packed else _raw_body(runtime, unit)
    return _Stored(parser=parser, parse_key=parse_key, packed=packed, body=body)


def _job(runtime: Runtime, unit: Unit, stored: _Stored) -> Job:
    parsed = runtime.blobs.unpack(stored.parse_key, stored.packed) if stored.packed else None
    body = stored.body if parsed or stored.body is not None else _raw_body(runtime, unit)
    request = ChunkRequest(
        content=body,
        parsed=parsed,
        file_path=unit.file_path,
        media_type=unit.media_type,
        metadata=unit.metadata,
        **plugins_of(runtime.generation(unit.generation_id).config, stored.parser),
    )
    return Job(unit=unit, parse_key=stored.parse_key, request=request)


def parse_key_of(runtime: Runtime, unit: Unit) -> tuple[str, str]:
    """Return the unit's parser and the key of the stored parse of its body."""
    parsers, generation = runtime.host.registry.of_kind("parser"), runtime.generation(unit.generation_id)
    place = {"media_type": unit.media_type, "file_path": unit.file_path}
    return chosen(parsers, generation.config, generation.fingerprints, unit.content_hash, **place)


def _refuse_large(unit: Unit, limits: Child) -> None:
    """Raise PermanentError for a document that would keep a child busy for minutes or that no child can hold."""
    named = {"max_bytes": limits.max_bytes}
    if is_text_type(unit.media_type or ""):
        named["max_text_bytes"] = limits.max_text_bytes
    for name, limit in named.items():
        if unit.size is not None and unit.size > limit:
            what = "texts" if name == "max_text_bytes" else "documents"
            hint = f"Raise child.{name} and run `semantik documents retry`, or exclude it."
            raise PermanentError(f"It has {unit.size:,} bytes; the limit of {what} is {limit:,}.", hint)


def _raw_body(runtime: Runtime, unit: Unit) -> bytes:
    body = runtime.blobs.get_raw(unit.content_hash or "")
    if body is None:
        with runtime.ledger.write() as tx:
            revisions.forget_hint(tx, unit.document_id, unit.revision)  # so that the next sync fetches it again
        raise PermanentError("Its stored body is missing.", "Sync its source again: `semantik index` fetches it again.")
    return body
