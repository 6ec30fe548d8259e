"""OpenTelemetry traces: one trace for a document's revision through all stages, in whatever processes they run.

The ids of the trace and of its first span (``sync``) are derived from source, document and revision. So stages in
different processes and on different days write to one trace, and no message carries a context. The sampling decision
also depends on the id, so all processes choose the same revisions.

Needs the extra ``otel``, imported only if ``trace.sample_ratio`` is above 0. The destination is set by OpenTelemetry's
own environment variables, ``OTEL_EXPORTER_OTLP_ENDPOINT`` and others.
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

#: Seconds to send a process's last spans to the collector.
FLUSH = 5.0


@dataclass(frozen=True, kw_only=True)
class Revision:
    """The revision of a document that a trace is about."""

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
    """A stage's work, from ``began`` to ``ended`` in seconds since 1970; ``error`` is the reason if it failed."""

    stage: str
    began: float
    ended: float
    error: str | None = None
    facts: Mapping[str, str | int]


class Traces:
    """Writes spans. Thread-safe. If the exporter is unavailable, spans are lost and nothing else happens."""

    def __init__(self, share: float, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._below = share * 2**64
        self._ids = _FirstIds()
        self._lock = threading.Lock()
        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):  # OTEL_SERVICE_NAME is not set
            resource = resource.merge(Resource({SERVICE_NAME: "semantik"}))
        self._provider = TracerProvider(resource=resource, id_generator=self._ids.generator(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("semantik_pipeline")

    def wants(self, revision: Revision) -> bool:
        """Whether the revision is sampled."""
        return revision.ids[0] % 2**64 < self._below

    def tell(self, revision: Revision, work: Work) -> None:
        """Write a span for a stage's work on a revision."""
        from opentelemetry.trace import Status, StatusCode

        facts = {
            "document": revision.unique_id.encode("utf-8", "replace").decode(),
            "revision": revision.revision,
            "stage": work.stage,
            **work.facts,
        }
        attributes = {f"semantik.{name}": value for name, value in facts.items()}
        with self._lock:  # the id generator is shared, and has the ids for one first span at a time
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
        """Send the remaining spans, for at most FLUSH seconds: an unavailable exporter would retry without end."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(FLUSH)

    def _context(self, revision: Revision, stage: str) -> Any:
        """Return the parent: the trace's first span, written by any process. ``sync`` is that span itself."""
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
    """Generates ids for OpenTelemetry's SDK: ``next`` for the next span if it is set, otherwise random ids."""

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
    """Return traces to the destination in the environment; for a share of 0, import nothing and return None."""
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
