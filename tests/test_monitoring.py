"""Alerts, dashboard and autoscalers use existing metrics, in valid PromQL, of services that export them.

``promtool check config`` and ``promtool test rules`` check more, if they are available.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
from workers.metrics import COUNTS, DISTRIBUTIONS, NAMES, foreseen
from workers.profiles import PROFILES

REPO = Path(__file__).parents[1]

#: Metrics of other programs.
OTHERS = {"up", "ALERTS", "process_resident_memory_bytes", "node_filesystem_avail_bytes", "node_filesystem_size_bytes"}
OTHERS |= {"node_cpu_seconds_total"}

#: This project's counters: metrics that only grow and are no part of a histogram.
COUNTERS = {f"semantik_{name}_total" for name in COUNTS}


def text(name: str) -> str:
    return (REPO / name).read_text("utf-8")


@cache
def services() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(text("docker-compose.yml"))["services"]


def queries() -> Iterator[str]:
    for group in yaml.safe_load(text("config/prometheus/alerts.yml"))["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads(text("config/grafana/dashboards/semantik.json"))["panels"]:
        yield from (target["expr"].replace("$__rate_interval", "1m") for target in panel.get("targets", []))
    for scaler in yaml.safe_load_all(text("docs/kubernetes/autoscaling.yaml")):
        yield from (trigger["metadata"]["query"] for trigger in scaler["spec"]["triggers"])


def selectors(expression: Any) -> Iterator[Any]:
    """Yield every vector selector in a parsed expression."""
    import promql_parser

    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for part in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(expression, part, None)
        if inner is not None:
            yield from selectors(inner)
    for argument in getattr(expression, "args", []):
        yield from selectors(argument)


def test_every_query_is_promql_over_metrics_that_exist() -> None:
    import promql_parser

    named = set()
    for query in queries():
        found = [selector.name for selector in selectors(promql_parser.parse(query))]
        assert found, query
        named |= set(found)
    parts = {f"semantik_{name}_{part}" for name in DISTRIBUTIONS for part in ("bucket", "sum", "count")}
    assert named <= NAMES - {f"semantik_{name}" for name in DISTRIBUTIONS} | parts | OTHERS
    shown = {re.sub("_(bucket|sum|count)$", "", name) if name in parts else name for name in named}
    assert shown >= NAMES, "what is measured and shown nowhere"


def test_names_end_in_what_is_measured() -> None:
    """Prometheus' naming rules: a histogram's name ends in its quantity and unit."""
    assert [name for name in DISTRIBUTIONS if not name.endswith(("_duration_seconds", "_ratio"))] == []
    assert [name for name in NAMES if name.endswith("_total") != (name[9:-6] in COUNTS)] == []


def documented() -> dict[str, set[str]]:
    """Return metric -> its labels, from docs/monitoring.md."""
    rows = re.findall(r"^\| `(semantik_\w+)` \|([^|]*)\|", text("docs/monitoring.md"), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def counted() -> Iterator[tuple[str, str, set[str]]]:
    """Yield each place where the code counts or observes an exported metric: the place, the metric, its labels."""
    for path in sorted([*REPO.glob("semantik_pipeline/**/*.py"), *REPO.glob("workers/*.py")]):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                first = node.args[0]
                name = first.value if isinstance(first, ast.Constant) else None
                labels = {keyword.arg or "**" for keyword in node.keywords}
                if node.func.attr == "count" and name in COUNTS:
                    yield f"{path.name}:{node.lineno}", f"semantik_{name}_total", labels
                if node.func.attr in ("observe", "timed") and name in DISTRIBUTIONS:
                    yield f"{path.name}:{node.lineno}", f"semantik_{name}", labels


def test_what_is_counted_has_the_labels_that_are_documented() -> None:
    known = documented()
    assert known.keys() == NAMES
    found = list(counted())
    assert [(place, name, labels) for place, name, labels in found if labels != known[name]] == []
    expected = {f"semantik_{name}_total" for name in COUNTS} | {f"semantik_{name}" for name in DISTRIBUTIONS}
    assert {name for _, name, _ in found} == expected


def test_every_query_asks_for_labels_that_exist() -> None:
    known = documented()
    for name in DISTRIBUTIONS:
        known |= {f"semantik_{name}_{part}": known[f"semantik_{name}"] for part in ("bucket", "sum", "count")}
    for query in queries():
        names = re.findall(r"semantik_\w+", query)
        for name, matchers in re.findall(r"(semantik_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)[=!]", matchers)) <= known[name] | {"job"}, query
        grouped = {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", query) for label in labels.split(",")}
        assert not names or grouped <= {"instance", "le"}.union(*(known[name] for name in names)), query


def test_alerts_know_which_profiles_answer_a_stage() -> None:
    """An alert on a stage's backlog without a worker names exactly the profiles that serve the stage."""
    checked = 0
    for query in queries():
        stages, profiles = re.search(r'stage=~?"([^"]+)"', query), re.search(r'profile=~"([^"]+)"', query)
        if stages and profiles:
            for stage in stages[1].split("|"):
                assert set(profiles[1].split("|")) == {name for name, one in PROFILES.items() if stage in one.queues}
                checked += 1
    assert checked == 4


def counters(expression: Any, *, grows: bool = False) -> Iterator[Any]:
    """Yield the selectors of this project's counters that an expression has inside ``increase`` or ``rate``."""
    import promql_parser

    if isinstance(expression, promql_parser.VectorSelector) and grows and expression.name in COUNTERS:
        yield expression
    if isinstance(expression, promql_parser.Call):
        grows = expression.func.name in ("increase", "rate", "irate")
        for argument in expression.args:
            yield from counters(argument, grows=grows)
    for part in ("expr", "lhs", "rhs", "vector_selector"):
        if (inner := getattr(expression, part, None)) is not None:
            yield from counters(inner, grows=grows)


def fits(selector: Any, labels: dict[str, str]) -> bool:
    found = re.findall(r'(\w+)(=~?)"([^"]*)"', str(selector))
    return all(re.fullmatch(value if how == "=~" else re.escape(value), labels[name]) for name, how, value in found)


def test_alerts_hear_of_the_first_burst_of_what_they_count(tmp_path: Path) -> None:
    """A counter that starts with its first event is invisible to ``increase`` and ``rate``.

    So each counter starts with 0 in every label combination that is known in advance; for other combinations, the alert
    counts the whole value of a new series.
    """
    import promql_parser

    begun = list(foreseen(Runtime(load_settings(data_dir=tmp_path, api={"auth": ["fake-auth"]}))))
    known = {f"semantik_{name}_total": [labels for found, labels in begun if found == name] for name, _ in begun}
    asked = set()
    for group in yaml.safe_load(text("config/prometheus/alerts.yml"))["groups"]:
        for rule in group["rules"]:
            for selector in counters(promql_parser.parse(rule["expr"])):
                name = selector.name
                asked.add(name)
                assert any(fits(selector, labels) for labels in known.get(name, ())), rule["alert"]
                if name == "semantik_quarantines_total":  # labeled by error type, and plugins have their own types
                    new = f"({name} unless last_over_time({name}[1h] offset 1h)) or increase({name}[1h])"
                    assert new in " ".join(rule["expr"].split())
    assert {"semantik_quarantines_total", "semantik_maintenance_failures_total"} < asked


def test_sources_that_wait_have_an_alert_of_their_own() -> None:
    """Syncs need an alert of their own: a source can be read for hours, and says nothing about sources that wait."""
    rules = [
        rule for group in yaml.safe_load(text("config/prometheus/alerts.yml"))["groups"] for rule in group["rules"]
    ]
    asked = {rule["alert"]: rule["expr"] for rule in rules if "semantik_backlog" in rule["expr"]}
    assert 'age_seconds{stage="sync"}' in asked.pop("SemantikSourcesOverdue")
    for expression in asked.values():
        for matchers in re.findall(r"semantik_backlog_\w+(\{.*?\})?", expression):
            assert 'stage!="sync"' in matchers or ("stage=" in matchers and "sync" not in matchers), expression
    assert not [rule["alert"] for rule in rules if 'state="running"' in rule["expr"]]


def test_every_alert_says_what_to_do_and_is_in_the_table() -> None:
    operations = text("docs/operations.md")
    for group in yaml.safe_load(text("config/prometheus/alerts.yml"))["groups"]:
        for rule in group["rules"]:
            assert set(rule["annotations"]) == {"summary", "action"}
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert f"`{rule['alert']}`" in operations


def test_prometheus_asks_services_that_serve_metrics() -> None:
    found = services()
    for job in yaml.safe_load(text("config/prometheus/prometheus.yml"))["scrape_configs"]:
        by_name = [(name, entry["port"]) for entry in job.get("dns_sd_configs", []) for name in entry["names"]]
        for entry in job.get("static_configs", []):
            by_name += [(host, int(port)) for host, _, port in (target.partition(":") for target in entry["targets"])]
        assert by_name
        for name, port in by_name:
            if name == "api":  # it serves metrics on its own port, and Prometheus has no key for it
                assert (job["metrics_path"], port) == ("/api/v2/metrics", load_settings().api.port)
                assert found[name]["environment"]["SEMANTIK_API_PUBLIC_METRICS"] == "true"
            elif found[name]["image"].startswith("semantik-pipeline:"):
                assert found[name]["environment"]["SEMANTIK_METRICS_PORT"] == str(port)
                assert found[name]["environment"]["SEMANTIK_METRICS_HOST"] == "0.0.0.0"
                assert found[name]["healthcheck"]["test"] == ["CMD", "python", "-m", "workers.health", str(port)]


def test_the_processes_of_further_gpus_are_asked_as_workers_where_somebody_says_so() -> None:
    """They are in the same job, whose name alerts use; Prometheus accepts no second job with that name."""
    more = re.sub(r"^( +)# (?=- names:|  \w+: )", r"\1", text("config/prometheus/prometheus.yml"), flags=re.MULTILINE)
    [job] = [one for one in yaml.safe_load(more)["scrape_configs"] if one["job_name"] == "semantik-worker"]
    first, second = job["dns_sd_configs"]
    assert second == {**first, "names": ["worker-gpu"], "port": first["port"] + 1}


def test_panels_have_a_place_of_their_own_and_a_datasource() -> None:
    source = yaml.safe_load(text("config/grafana/provisioning/datasources/prometheus.yml"))["datasources"][0]
    provider = yaml.safe_load(text("config/grafana/provisioning/dashboards/semantik.yml"))["providers"][0]
    assert any(volume.endswith(f":{provider['options']['path']}:ro") for volume in services()["grafana"]["volumes"])
    taken: set[tuple[int, int]] = set()
    panels = json.loads(text("config/grafana/dashboards/semantik.json"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["datasource"]["uid"] == source["uid"]


def test_pods_are_asked_as_the_jobs_that_alerts_name() -> None:
    """On Kubernetes, the job's name comes from the pods' label; with compose, from Prometheus' configuration."""
    manifests = [one for one in yaml.safe_load_all(text("docs/kubernetes/workers.yaml")) if one]
    [monitor] = [one["spec"] for one in manifests if one["kind"] == "PodMonitor"]
    [rule] = monitor["podMetricsEndpoints"][0]["relabelings"]
    assert (rule["sourceLabels"], rule["targetLabel"]) == (["__meta_kubernetes_pod_label_part"], "job")
    jobs = set()
    for one in manifests:
        if one["kind"] == "Deployment":
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert monitor["selector"]["matchLabels"].items() <= labels.items()
            found = re.fullmatch(rule["regex"], labels["part"])
            jobs.add(rule["replacement"].replace("$1", found[1]) if found else None)
    named = {job for query in queries() for job in re.findall(r'job="([^"]+)"', query)}
    configured = {one["job_name"] for one in yaml.safe_load(text("config/prometheus/prometheus.yml"))["scrape_configs"]}
    assert named <= jobs & configured
