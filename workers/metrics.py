"""Prometheus metrics: what a process did (its tally), and what the ledger knows about the whole fleet.

:class:`Endpoint` serves ``/metrics``, ``/live`` and ``/ready`` on one port. ``docs/monitoring.md`` documents the names;
a test compares that page, the alert rules and the dashboard with :data:`NAMES`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from semantik_pipeline import fleet
from semantik_pipeline.errors import PipelineError, SettingsError
from semantik_pipeline.isolation import STEPS
from semantik_pipeline.ledger.queue.expired_leases import DIED
from semantik_pipeline.pipeline import QUEUES, STAGES
from semantik_pipeline.stages import unit_errors
from semantik_pipeline.tally import BUCKETS, Distribution, Labels, Tally

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

#: Counts of a process's tally, by name, with their help texts. Exported as ``semantik_<name>_total``.
COUNTS = {
    "units": "Documents that a stage finished (sync: read), released, or failed on, by outcome.",
    "chunks": "Chunks of documents that a stage finished.",
    "lease_expiries": "Leases of documents, and of slices of sources, that expired because their worker died or "
    "stalled.",
    "quarantines": "Documents that were quarantined, by type of error.",
    "embed_tokens": "Tokens that a model processed, without padding.",
    "model_busy_seconds": "Seconds that a model was computing.",
    "maintenance_failures": "Maintenance steps that failed.",
    "http_requests_denied": "Requests to the API that were denied: without a valid key, or without permission.",
    "auth_plugin_failures": "Requests to the API that were denied because an auth plugin failed.",
    "queue_messages": "Messages to the queues of stages: sent, skipped because one is still waiting, or failed.",
}

#: Distributions of a process's tally, in seconds or shares. Exported as ``semantik_<name>``.
DISTRIBUTIONS = {
    "stage_duration_seconds": "Seconds from a claim to the end of its work.",
    "model_load_duration_seconds": "Seconds to load a model.",
    "embed_batch_fill_ratio": "Share of the tokens in a batch that are text, not padding.",
    "search_step_duration_seconds": "Seconds of each step of a search.",
    "http_request_duration_seconds": "Seconds that the API took to answer a request.",
}

#: Gauges of this process.
HERE = {
    "plugin_state_revision": "Revision of the plugin state file that this process loaded.",
    "plugin_state_current": "1 if this process loaded the plugin state file as it is now.",
    "plugins": "Plugins by status: loaded, disabled, failed, conflicts.",
    "gpu_memory_bytes": "GPU memory that this process uses.",
}

#: Gauges for the whole fleet, from the ledger.
EVERYWHERE = {
    "backlog_units": "Documents (stage sync: sources) that wait for a worker.",
    "backlog_oldest_age_seconds": "Seconds that the oldest of them has waited.",
    "units_in_progress": "Documents (stage sync: sources) that workers are processing.",
    "blocked_units": "Documents that no live worker can process.",
    "operations": "Operations that are not finished, by state.",
    "sources": "Sources by state.",
    "workers": "Worker processes by profile and state.",
}

NAMES = {
    *(f"semantik_{name}_total" for name in COUNTS),
    *(f"semantik_{name}" for name in (*DISTRIBUTIONS, *HERE, *EVERYWHERE)),
}

#: Outcomes of units, outcomes of messages to queues, and reasons why a request is denied.
OUTCOMES = ("done", "released", "suspected", "failed", "quarantined")
MESSAGES = ("sent", "skipped", "failed")
DENIALS = ("unauthorized", "forbidden")

#: Seconds for which figures from the ledger are cached.
FRESH = 5.0


class ProcessCollector:
    """Metrics of this process: its tally, its plugins and plugin state, and its GPU memory."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        for name, labels in foreseen(runtime):
            runtime.tally.count(name, 0, **labels)

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client for each scrape."""
        yield from tallied(self._runtime.tally)
        host = self._runtime.host
        yield _gauge("plugin_state_revision", HERE, [((), host.state.revision)])
        current = fleet.current_state(self._runtime)["hash"] == host.state.digest
        yield _gauge("plugin_state_current", HERE, [((), float(current))])
        entries = host.report.to_dict()
        yield _gauge("plugins", HERE, [((("status", name),), len(found)) for name, found in entries.items()])
        yield _gauge("gpu_memory_bytes", HERE, _gpu_memory())


def foreseen(runtime: Runtime) -> Iterable[tuple[str, dict[str, str]]]:
    """Yield the counts whose labels are known in advance, so that they can start at 0. Prometheus's ``increase()``
    misses the first event of a counter that only appears with it."""
    yield "units", {"stage": "sync", "outcome": "done"}
    for stage in STAGES:
        yield from (("units", {"stage": stage, "outcome": outcome}) for outcome in OUTCOMES)
        yield "chunks", {"stage": stage}
    for stage in ("sync", *STAGES):
        yield "lease_expiries", {"stage": stage}
        for error_type in (*unit_errors.foreseeable(), DIED):
            yield "quarantines", {"stage": stage, "error_type": error_type}
    yield from (("maintenance_failures", {"step": step}) for step in STEPS)
    yield from (("queue_messages", {"stage": stage, "outcome": outcome}) for stage in QUEUES for outcome in MESSAGES)
    yield from (("http_requests_denied", {"reason": reason}) for reason in DENIALS)
    yield from (("auth_plugin_failures", {"plugin": plugin}) for plugin in runtime.settings.api.auth)


class FleetCollector:
    """Metrics of the whole fleet, from the ledger."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._found: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client for each scrape. Returns nothing while the ledger is unreachable."""
        with self._lock:
            if time.monotonic() - self._asked > FRESH:
                try:
                    self._found = list(fleet_metrics(fleet.view(self._runtime)))
                except PipelineError as error:
                    log.warning("The ledger can't be queried for metrics: %s", error)
                    self._found = []
                self._asked = time.monotonic()
            return self._found


def fleet_metrics(view: dict[str, Any]) -> Iterable[Metric]:
    """Convert the result of ``fleet.view`` to Prometheus metrics."""
    stages = view["stages"].items()
    for name, key in (
        ("backlog_units", "waiting"),
        ("backlog_oldest_age_seconds", "oldest_seconds"),
        ("units_in_progress", "in_progress"),
    ):
        yield _gauge(name, EVERYWHERE, [((("stage", stage),), float(one[key] or 0)) for stage, one in stages])
    blocked: Counter[Labels] = Counter()
    for one in view["blocked"]:  # one entry per generation; blocked sources have none and are not counted here
        if one["generation"] is not None:
            blocked[(("stage", one["stage"]),)] += one["units"]
    yield _gauge("blocked_units", EVERYWHERE, list(blocked.items()))
    yield _gauge("sources", EVERYWHERE, [((("state", state),), n) for state, n in view["sources"].items()])
    yield _gauge("operations", EVERYWHERE, [((("state", s),), n) for s, n in view["operations"].items()])
    there = Counter((("profile", worker["profile"]), ("state", worker["state"])) for worker in view["workers"])
    yield _gauge("workers", EVERYWHERE, list(there.items()))


def tallied(tally: Tally) -> Iterable[Metric]:
    """Convert a tally to Prometheus metrics."""
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

    for name, told in COUNTS.items():
        counts = tally.counts(name)
        labels = _label_names(counts)
        counter = CounterMetricFamily(f"semantik_{name}", told, labels=labels)
        for values, amount in counts.items():
            counter.add_metric([dict(values).get(label, "") for label in labels], amount)
        yield counter
    observed = tally.distributions()
    for name, told in DISTRIBUTIONS.items():
        found = {labels: value for (known, labels), value in observed.items() if known == name}
        labels = _label_names(found)
        histogram = HistogramMetricFamily(f"semantik_{name}", told, labels=labels)
        for values, one in found.items():
            histogram.add_metric([dict(values).get(label, "") for label in labels], _buckets(one), one.total)
        yield histogram


def _buckets(one: Distribution) -> list[tuple[str, float]]:
    bounds = [*map(str, BUCKETS), "+Inf"]
    sums = [float(sum(one.counts[: index + 1])) for index in range(len(one.counts))]
    return list(zip(bounds, sums, strict=True))


def _label_names(found: Iterable[Labels]) -> list[str]:
    return sorted({name for labels in found for name, _ in labels})


def _gauge(name: str, known: dict[str, str], values: list[tuple[Labels, float]]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    labels = _label_names(labels for labels, _ in values)
    gauge = GaugeMetricFamily(f"semantik_{name}", known[name], labels=labels)
    for given, value in values:
        gauge.add_metric([dict(given).get(label, "") for label in labels], value)
    return gauge


def _gpu_memory() -> list[tuple[Labels, float]]:
    import sys

    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    return [
        ((("device", str(device)), ("kind", kind)), float(measure(device)))
        for device in range(torch.cuda.device_count())
        for kind, measure in (("used", torch.cuda.memory_allocated), ("reserved", torch.cuda.memory_reserved))
    ]


def registry_of(collectors: Iterable[Any]) -> CollectorRegistry:
    """A registry with these collectors and the standard metrics about the process's memory, CPU and platform."""
    from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    for collector in collectors:
        registry.register(_Described(collector))
    return registry


#: Answers a probe: None if all is well, otherwise the reason.
Probe = Callable[[], str | None]


class Endpoint:
    """Serves ``/metrics``, ``/live`` and ``/ready`` at an address until it is closed."""

    def __init__(self, host: str, port: int, collectors: Iterable[Any], *, live: Probe, ready: Probe) -> None:
        from prometheus_client import generate_latest

        registry = registry_of(collectors)
        pages: dict[str, Callable[[], tuple[int, bytes]]] = {
            "/metrics": lambda: (200, generate_latest(registry)),
            "/live": lambda: _probed(live),
            "/ready": lambda: _probed(ready),
        }

        class Handler(_Handler):
            answers = pages

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise SettingsError(
                f"{host}:{port} can't be used for metrics and probes: {error.strerror}.",
                "Set another metrics.port, or metrics.host.",
            ) from None
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Described:
    """Wraps a collector so that prometheus_client does not call ``collect`` when registering it, because plugins may
    not be loaded yet."""

    def __init__(self, collector: Any) -> None:
        self.collect = collector.collect

    def describe(self) -> list[Any]:
        return []


def _probed(probe: Probe) -> tuple[int, bytes]:
    reason = probe()
    return (200, b"ok\n") if reason is None else (503, f"{reason}\n".encode())


class _Handler(BaseHTTPRequestHandler):
    answers: dict[str, Callable[[], tuple[int, bytes]]]

    def do_GET(self) -> None:
        page = self.answers.get(self.path.partition("?")[0])
        status, body = page() if page else (404, b"There are /metrics, /live and /ready.\n")
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: scrapes are frequent and uninteresting."""
