"""A document through all stages is one trace, whoever works on it; its log lines name it at each of them."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from semantik_pipeline import operations
from semantik_pipeline.errors import SettingsError
from semantik_pipeline.settings import load_settings
from semantik_pipeline.traces import Revision, Traces, Work, open_traces
from tests.integration.conftest import FAKE_COLLECTION, texts

STAGES = ["sync", "chunk", "extract", "embed", "upsert"]
COLLECTION = {
    **FAKE_COLLECTION,
    "extraction": {"chunk": [{"plugin": "fake-extractor", "options": {}}], "document": []},
}


class Collector:
    """An OTLP endpoint on the loopback."""

    def __init__(self, serve: Callable[..., Any]) -> None:
        self.requests: list[Any] = []
        self.url = serve(self._app).url

    def _app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        self.requests.append(ExportTraceServiceRequest.FromString(body))
        start_response("200 OK", [("Content-Type", "application/x-protobuf")])
        return [b""]

    def spans(self) -> list[dict[str, Any]]:
        """Each span with its attributes as plain values, in the order of their begins."""
        found = []
        for request in self.requests:
            for resource in request.resource_spans:
                about = {one.key: one.value.string_value for one in resource.resource.attributes}
                for span in [span for scope in resource.scope_spans for span in scope.spans]:
                    values = {
                        one.key.removeprefix("semantik."): one.value.string_value or one.value.int_value
                        for one in span.attributes
                    }
                    ids = {
                        "trace": span.trace_id.hex(),
                        "span": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                    }
                    status = {"status": span.status.code, "told": span.status.message}
                    times = {"began": span.start_time_unix_nano, "ended": span.end_time_unix_nano}
                    found.append(
                        {"name": span.name, "service": about["service.name"], **ids, **status, **times, **values}
                    )
        return sorted(found, key=lambda span: span["began"])


@pytest.fixture
def collector(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    found = Collector(serve)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    return found


def test_stages_of_two_processes_write_to_one_trace(make_pipeline, collector: Collector, tmp_path: Path) -> None:
    """The second runtime stands for another process: nothing goes from one to the other but the ledger."""
    folder = operations.folder_source(texts(tmp_path / "docs", a="one text", b="another text"))
    first = make_pipeline(trace={"sample_ratio": 1.0})
    first.index(folder, config=COLLECTION, run=False)
    first.run("sync", "chunk")
    first.runtime.close()
    second = make_pipeline(trace={"sample_ratio": 1.0})
    second.run()
    second.runtime.close()
    spans = collector.spans()
    assert {span["service"] for span in spans} == {"semantik"} and {span["status"] for span in spans} == {0}
    traces = {span["trace"] for span in spans}
    assert len(traces) == 2, "one for each document"
    for trace in traces:
        mine = [span for span in spans if span["trace"] == trace]
        assert [span["name"] for span in mine] == STAGES
        assert len({span["document"] for span in mine}) == 1
        root, *below = mine
        assert root["parent"] == "" and {span["parent"] for span in below} == {root["span"]}
        assert {span["collection"] for span in mine} == {"default"} and all(span["worker"] for span in mine)
        assert mine[3]["plugin"].startswith("fake-embedder") and mine[3]["chunks"] == 1
        assert all(span["began"] <= span["ended"] for span in mine)


def test_a_failure_is_an_error_and_the_next_revision_another_trace(
    make_pipeline, collector: Collector, tmp_path: Path
) -> None:
    pipeline = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON"}}, trace={"sample_ratio": 1.0})
    texts(tmp_path / "docs", a="POISON")
    pipeline.folder(tmp_path / "docs")
    texts(tmp_path / "docs", a="a good text")
    pipeline.folder(tmp_path / "docs")
    pipeline.runtime.close()
    spans = collector.spans()
    failed = [span for span in spans if span["status"] == 2]
    assert failed and {span["name"] for span in failed} == {"embed"}
    assert all(span["outcome"] == "failed" and "POISON" in span["told"] for span in failed)
    revisions = {span["trace"]: span["revision"] for span in spans}
    assert sorted(revisions.values()) == [1, 2]


def test_a_collector_that_is_away_keeps_no_process_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setattr("semantik_pipeline.traces.FLUSH", 0.5)
        traces = open_traces(1.0)
        assert traces is not None
        work = Work(stage="embed", began=1.0, ended=2.0, facts={"chunks": 3})
        traces.tell(Revision(source_id=1, unique_id="a", revision=1), work)
        began = time.monotonic()
        traces.close()
        assert time.monotonic() - began < 3


def test_a_span_tells_no_secret_that_an_error_quotes() -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    traces = Traces(1.0, exporter)
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    work = Work(stage="embed", began=1.0, ended=2.0, error=f"login with {secret} failed", facts={})
    traces.tell(Revision(source_id=1, unique_id="a", revision=1), work)
    traces.close()
    (span,) = exporter.get_finished_spans()
    assert span.status.description == "login with ******** failed"


def test_a_share_is_the_same_one_everywhere() -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    made = [Traces(share, InMemorySpanExporter()) for share in (0.25, 0.25, 1.0)]
    revisions = [Revision(source_id=1, unique_id=f"file {number}", revision=1) for number in range(2000)]
    here, there, everything = ([one for one in revisions if traces.wants(one)] for traces in made)
    assert here == there and 400 < len(here) < 600 and everything == revisions
    for traces in made:
        traces.close()


def test_off_imports_nothing_and_on_without_the_package_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = (
        "import sys; from semantik_pipeline.traces import open_traces; assert open_traces(0.0) is None;"
        "import semantik_pipeline.runtime; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert load_settings(data_dir=tmp_path).trace.sample_ratio == 0.0
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match="OpenTelemetry is not installed") as caught:
        open_traces(0.5)
    assert "semantik-pipeline[otel]" in str(caught.value.hint)


def test_the_log_names_a_document_at_each_of_its_stages(
    make_pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each line of the journal as the JSON form writes it."""
    import json

    from semantik_pipeline.logs import JsonLines

    written: list[dict[str, Any]] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(json.loads(JsonLines().format(record)))

    journal = logging.getLogger("semantik_pipeline.stages")
    keeping = Keeping()
    journal.addHandler(keeping)
    try:
        with caplog.at_level(logging.DEBUG, logger="semantik_pipeline.stages"):
            pipeline = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON"}})
            texts(tmp_path / "docs", good="a good text", bad="POISON")
            operation = pipeline.index(operations.folder_source(tmp_path / "docs"), config=COLLECTION)["id"]
    finally:
        journal.removeHandler(keeping)
    told = [line for line in written if str(line.get("document", "")).endswith("good.txt")]
    assert [line["stage"] for line in told if "done" in line["message"] or "new" in line["message"]] == STAGES
    assert {line["operation"] for line in told} == {operation} and len({line["worker"] for line in told}) == 1
    warnings = [line for line in written if line["level"] == "warning" and "in quarantine" in line["message"]]
    assert len(warnings) == 1
    assert warnings[0]["document"].endswith("bad.txt") and warnings[0]["operation"] == operation
