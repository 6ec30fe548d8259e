"""OpenTelemetry traces: a document's revision through all stages as one trace, whoever works on it.

The trace's id follows from source, document and revision, and so does the id of its first span, that of ``sync``. So
stages in different processes and on different days write to one trace, and no message carries a context. Which
revisions are told follows from the id, too: all processes choose the same ones.

Needs the extra ``otel``, which is imported only where ``trace.sample_ratio`` is above 0. Where to is said by the environment,
in the words of OpenTelemetry: ``OTEL_EXPORTER_OTLP_ENDPOINT`` and the others.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import SettingsError
from semantik_pipeline.plugins.secrets import scrub

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

#: Seconds that the last spans of a process may take to their collector.
FLUSH = 5.0


@dataclass(frozen=True, kw_only=True)
class Revision:
    """What a trace is about."""

    source_id: int
    unique_id: str
    revision: int

    @property
    def ids(self) -> tuple[int, int]:
        """``(trace id, id of its first span)``: 128 and 64 bits, never 0."""
        told = f"{self.source_id}\0{self.unique_id}\0{self.revision}".encode("utf-8", "replace")
        digest = hashlib.sha256(told).digest()
        return int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:24]) or 1


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a stage did: from ``began`` to ``ended``, in seconds since 1970; ``error`` is why it failed."""

    stage: str
    began: float
    ended: float
    error: str | None = None
    facts: Mapping[str, str | int]


class Traces:
    """Writes spans. Safe from every thread; an exporter that is away costs spans and nothing else."""

    def __init__(self, share: float, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._below = share * 2**64
        self._ids = _FirstIds()
        self._lock = threading.Lock()
        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):  # OTEL_SERVICE_NAME names none
            resource = resource.merge(Resource({SERVICE_NAME: "semantik"}))
        self._provider = TracerProvider(resource=resource, id_generator=self._ids.generator(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("semantik_pipeline")

    def wants(self, revision: Revision) -> bool:
        """Whether the revision is among those that are told."""
        return revision.ids[0] % 2**64 < self._below

    def tell(self, revision: Revision, work: Work) -> None:
        """One span for a stage's work on a revision."""
        from opentelemetry.trace import Status, StatusCode

        facts = {
            "document": revision.unique_id.encode("utf-8", "replace").decode(),
            "revision": revision.revision,
            "stage": work.stage,
            **work.facts,
        }
        attributes = {f"semantik.{name}": value for name, value in facts.items()}
        with self._lock:  # the first span's ids are taken from the generator, which knows nobody
            span = self._tracer.start_span(
                work.stage,
                context=self._context(revision, work.stage),
                attributes=attributes,
                start_time=int(work.began * 1e9),
            )
        if work.error is not None:
            span.set_status(Status(StatusCode.ERROR, scrub(work.error)))
        span.end(int(work.ended * 1e9))

    def close(self) -> None:
        """Send what is left. An exporter that is away tries again and again, whatever time it is given: it is left so."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(FLUSH)

    def _context(self, revision: Revision, stage: str) -> Any:
        """Below the trace's first span, which may have been written elsewhere; ``sync`` is that span itself."""
        from opentelemetry.context import Context
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

        trace_id, span_id = revision.ids
        if stage == "sync":
            self._ids.next = revision.ids
            return Context()
        sampled = TraceFlags(TraceFlags.SAMPLED)
        first = SpanContext(trace_id, span_id, is_remote=True, trace_flags=sampled)
        return set_span_in_context(NonRecordingSpan(first), Context())


class _FirstIds:
    """Ids for OpenTelemetry's SDK: ``next`` for the next span, where it is set, else random ones."""

    def __init__(self) -> None:
        self.next: tuple[int, int] | None = None

    def generator(self) -> Any:
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        ids = self

        class Generator(RandomIdGenerator):
            def generate_trace_id(self) -> int:
                return super().generate_trace_id() if ids.next is None else ids.next[0]

            def generate_span_id(self) -> int:
                given, ids.next = ids.next, None
                return super().generate_span_id() if given is None else given[1]

        return Generator()


def open_traces(share: float) -> Traces | None:
    """Traces to where the environment says; None, and nothing is imported, for a share of 0."""
    if not share:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise SettingsError(
            f"trace.sample_ratio is {share:g}, but OpenTelemetry is not installed: {error}.",
            "Run pip install 'semantik-pipeline[otel]', or set trace.sample_ratio to 0.",
        ) from None
    return Traces(share, OTLPSpanExporter())
