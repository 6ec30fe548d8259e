"""doctor: what is wrong is found and named, with what to do; nothing is made or mended by looking."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from semantik_pipeline import maintenance
from semantik_pipeline.builtin.stores.qdrant_edge import QdrantEdgeStore
from semantik_pipeline.doctor import Finding, Patient, examine, verdict
from semantik_pipeline.doctor.examination import Check, side_by_side
from semantik_pipeline.doctor.extensions import look_at_plugins, look_at_state
from semantik_pipeline.doctor.findings import well
from semantik_pipeline.doctor.hosts import look_at_disks
from semantik_pipeline.doctor.servers import _clock, _unheard, look_at_blobs, look_at_broker, look_at_ledger
from semantik_pipeline.doctor.stores import _indexes, look_at_store
from semantik_pipeline.doctor.work import healthy, look_at_workers
from semantik_pipeline.ledger.queue import workers
from semantik_pipeline.plugins import administer
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
from semantik_pipeline.testing.fakes import MemoryStore
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from tests.announced import announced
from tests.integration.conftest import texts


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def looked(check: Callable[[Patient], Any], runtime: Runtime, **known: Any) -> dict[str, Finding]:
    """What one check finds, as ``examine`` would tell it."""
    patient = Patient(runtime=runtime, **known)
    return by_name(side_by_side([Check(name="it", look=check, remedy="Mend it.")], patient))


@pytest.fixture
def indexed(make_pipeline, tmp_path: Path) -> Any:
    pipeline = make_pipeline()
    pipeline.folder(texts(tmp_path / "docs", a="one text", b="another text"))
    pipeline.runtime.close()  # gives the index back
    return make_pipeline()


def test_all_is_well_where_it_is(indexed) -> None:
    findings = examine(indexed.runtime)
    assert verdict(findings) == "ok", [finding for finding in findings if finding.status != "ok"]
    found = by_name(findings)
    assert "SQLite" in found["ledger"].message and found["ledger"].seconds is not None
    assert "2 points" in found["index of 'default'"].message
    assert {"schema", "broker", "blobs", "plugins", "model of 'default'", "schedule", "sources"} <= set(found)
    assert not list((indexed.runtime.settings.data_dir / "blobs" / "probe").glob("*"))


def test_too_many_points_are_told_whatever_another_collection_waits_for(
    make_pipeline, tmp_path: Path, monkeypatch
) -> None:
    pipeline = make_pipeline()
    pipeline.folder(texts(tmp_path / "docs", a="one text"))
    pipeline.folder(texts(tmp_path / "notes", b="another text"), collection="notes", run=False)
    pipeline.run("sync")
    pipeline.runtime.close()  # gives the index back
    monkeypatch.setattr(QdrantEdgeStore, "count", lambda self, name, filter=None: 5000)
    found = by_name(examine(make_pipeline().runtime))
    assert "5,000 points" in found["index of 'default'"].message
    assert (found["index of 'default'"].status, found["index of 'notes'"].status) == ("warning", "ok")


def test_plugins_are_asked_with_the_models_that_were_pulled(indexed, monkeypatch) -> None:
    asked: list[dict[str, Any]] = []
    really = administer.list_plugins

    def noting(*given: Any, **named: Any) -> Any:
        asked.append(named)
        return really(*given, **named)

    monkeypatch.setattr(administer, "list_plugins", noting)
    looked(look_at_plugins, indexed.runtime, ledger=True)
    assert [one["offered"] for one in asked] == [indexed.runtime.settings.offered] != [{}]


def test_nothing_is_made_where_there_is_nothing(tmp_path: Path) -> None:
    with Runtime(load_settings(data_dir=tmp_path / "data")) as runtime:
        found = looked(look_at_ledger, runtime) | looked(look_at_disks, runtime)
    assert found["ledger"].status == "ok" and "none yet" in found["ledger"].message
    assert not (tmp_path / "data").exists()


def test_what_became_of_documents_sources_and_plugins(make_pipeline, tmp_path: Path) -> None:
    pipeline = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON"}})
    pipeline.folder(texts(tmp_path / "docs", a="POISON"))
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(text("update sources set paused = 'somebody said so'"))
    maintenance.tick(pipeline.runtime)
    pipeline.runtime.close()
    again = make_pipeline(disabled=("fake-embedder",))
    found = by_name(examine(again.runtime))
    assert found["quarantine of 'default'"].status == "warning"
    (source,) = (finding for what, finding in found.items() if what.startswith("source "))
    assert "somebody said so" in source.message and "semantik sources resume" in str(source.remedy)
    assert found["plugin fake-embedder"].status == "broken"
    assert "semantik plugins enable fake-embedder" in str(found["plugin fake-embedder"].remedy)
    assert found["model of 'default'"].status == "broken"
    assert "last maintenance tick" in found["schedule"].message


def test_a_broken_state_file_is_told_once_and_the_rest_is_looked_at(indexed) -> None:
    indexed.runtime.settings.state_file.write_text('{"version": 1, "disabled_ids": [')
    with Runtime(indexed.runtime.settings) as runtime:
        findings = examine(runtime)
    bad = [finding for finding in findings if finding.status == "broken"]
    assert [finding.check for finding in bad] == ["plugin state"] and "plugins.json" in bad[0].message
    assert "sources" in by_name(findings)


def test_an_index_that_lost_points_is_broken(indexed) -> None:
    with Runtime(indexed.runtime.settings) as runtime:
        generation = next(iter(_generations(runtime)))
        runtime.host.call(runtime.store.delete, generation.index, filter={"must_not": []})
    with Runtime(indexed.runtime.settings) as runtime:
        found = looked(look_at_store, runtime, generations=_generations(runtime))["index of 'default'"]
    assert found.status == "broken" and "0 points" in found.message and "verify --repair" in str(found.remedy)


@pytest.mark.parametrize(("shared", "known"), [(True, True), (True, False), (False, False)])
def test_a_shared_store_without_conditional_writes_is_warned_of(monkeypatch, shared: bool, known: bool) -> None:
    store = MemoryStore({})
    if not known:
        lacking = store.capabilities - {"condition"}
        monkeypatch.setattr(MemoryStore, "capabilities", property(lambda self: lacking))
    host = SimpleNamespace(call=lambda method, *args: method(*args))
    runtime: Any = SimpleNamespace(settings=SimpleNamespace(shared_store=shared), store=store, host=host)
    found = list(_indexes(runtime, []))
    assert [one.status for one in found] == (["warning"] if shared and not known else [])
    assert all("fake-store" in one.message for one in found)


def test_an_index_of_another_process_is_left_alone(indexed) -> None:
    with Runtime(indexed.runtime.settings) as runtime, indexed.runtime.own():
        found = looked(look_at_store, runtime, generations=_generations(runtime))
    assert found["index"].status == "ok" and "another process" in found["index"].message


def _generations(runtime: Runtime) -> list[Any]:
    with runtime.ledger.read() as tx:
        from semantik_pipeline.ledger.catalog import collections

        return collections.list_generations(tx)


def test_servers_that_are_away_are_named(tmp_path: Path) -> None:
    port = closed_port()
    settings = load_settings(
        data_dir=tmp_path,
        database={"url": f"postgresql://ada:hunter2@127.0.0.1:{port}/semantik"},
        broker={"url": f"redis://:hunter2@127.0.0.1:{port}/0"},
        qdrant={"url": f"http://127.0.0.1:{port}"},
        blob={"url": "/proc/nowhere"},
    )
    with Runtime(settings) as runtime:
        found = [looked(look, runtime)["it"] for look in (look_at_ledger, look_at_broker, look_at_store, look_at_blobs)]
    assert {finding.status for finding in found} == {"broken"} and all(finding.remedy for finding in found)
    assert all(f"127.0.0.1:{port}" in finding.message for finding in found[:3]) and "/proc/nowhere" in found[3].message
    assert "hunter2" not in json.dumps([finding.to_dict() for finding in found])


def test_a_check_that_hangs_is_named_and_keeps_nobody(tmp_path: Path) -> None:
    forever = threading.Event()
    checks = [
        Check(
            name="slow", look=lambda patient: [well("slow", "")] if forever.wait(30) else [], remedy="R", seconds=0.2
        ),
        Check(name="raises", look=lambda patient: [1 / 0], remedy="R"),
        Check(name="quick", look=lambda patient: [well("quick", "at once")], remedy="R"),
    ]
    began = time.monotonic()
    with Runtime(load_settings(data_dir=tmp_path)) as runtime:
        slow, raises, quick = side_by_side(checks, Patient(runtime=runtime))
    forever.set()
    assert time.monotonic() - began < 5
    assert (slow.status, slow.remedy) == ("broken", "R") and "no answer within 0.2 s" in slow.message
    assert raises.status == "broken" and "ZeroDivisionError" in raises.message
    assert quick.status == "ok"


def test_a_worker_whose_models_are_on_the_cpu_beside_a_gpu_is_warned_of(make_pipeline) -> None:
    runtime = make_pipeline(plugins={"late-interaction": {"device": "cpu"}}).runtime
    models = [{"plugin": "dense-local", "model": "tiny", "device": "cpu"}]
    meant = {"plugin": "late-interaction", "model": "small", "device": "cpu"}
    report = {"queues": ["embed"], "heartbeat": 60, "plugins": {}}
    told = {"slow": (["0"], models), "meant": (["0"], [meant]), "none": ([], models), "starting": (["0"], None)}
    told["quick"] = (["0"], [{**models[0], "device": "cuda"}])
    with runtime.ledger.write() as tx:
        for name, (gpus, loaded) in told.items():
            announced(tx, name, host="here", pid=os.getpid(), profile="gpu", report={**report, "gpus": gpus})
            workers.beat(tx, name, state="ready", activity={"models": loaded})
    found = [one for one in looked(look_at_workers, runtime).values() if one.check.startswith("worker ")]
    assert [(one.check, one.status) for one in found] == [("worker slow", "warning")]
    assert "on the CPU: tiny" in found[0].message and "nvidia-smi" in str(found[0].remedy)


def test_clocks_may_differ_by_five_seconds() -> None:
    assert _clock(4.0).status == _clock(-4.0).status == "ok"
    assert _clock(6.0).status == _clock(-6.0).status == "warning"
    assert "6.0 s behind" in _clock(-6.0).message


def test_a_fleet_without_schema_then_without_workers_then_with_odd_ones(
    postgres_url: str, installed_fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(installed_fakes))
    double = QdrantDouble().start()
    try:
        urls = {"database": {"url": postgres_url}, "qdrant": {"url": double.url}}
        settings = load_settings(
            data_dir=tmp_path / "data", broker={"url": f"redis://127.0.0.1:{closed_port()}/0"}, **urls
        )
        with Runtime(settings) as runtime:
            found = by_name(examine(runtime))
        assert found["schema"].status == "broken" and "semantik migrate" in str(found["schema"].remedy)
        assert found["broker"].status == "broken" and found["store"].status == "ok" and "workers" not in found
        _migrate(postgres_url)
        with Runtime(settings) as runtime:
            found = by_name(examine(runtime))
            assert found["schema"].status == "ok" and "PostgreSQL" in found["ledger"].message
            assert found["workers"].status == "warning" and "semantik worker" in str(found["workers"].remedy)
            assert found["schedule"].status == "warning" and "scheduler" in str(found["schedule"].remedy)
            _register(runtime, "one", queues=["sync", "chunk", "extract", "upsert"], digest="other", version="1.9")
            maintenance.tick(runtime)
            found = by_name(examine(runtime))
            _drain(runtime, "one")
            drained = by_name(examine(runtime))
        assert found["workers"].status == "ok" and found["schedule"].status == "ok"
        assert found["workers of embed"].status == "warning"
        assert "one" in found["plugin state"].message and "1.9" in found["releases"].message
        assert drained["workers"].status == "warning" and "all are drained" in drained["workers"].message
        assert drained["workers"].remedy == "Run `semantik fleet resume`."
        _limit_connections(postgres_url)
    finally:
        double.stop()


def _migrate(url: str) -> None:
    from semantik_pipeline.ledger import Ledger
    from semantik_pipeline.ledger.database import schema

    ledger = Ledger(url, check=False)
    schema.migrate(ledger.engine)
    ledger.close()


def _register(runtime: Runtime, name: str, *, queues: list[str], digest: str, version: str) -> None:
    report = {"queues": queues, "heartbeat": 60, "version": version}
    report |= {"plugin_state": {"revision": 1, "hash": digest}, "plugins": {}}
    with runtime.ledger.write() as tx:
        announced(tx, name, host="here", pid=os.getpid(), profile="cpu", report=report)


def _drain(runtime: Runtime, name: str) -> None:
    """Bells that wait while a drained worker is idle are no fault of the broker."""
    with runtime.ledger.write() as tx:
        workers.beat(tx, name, state="draining", activity={})
        [row] = workers.living(tx)
    found = _unheard(["sync"], [row])
    assert found.message == "messages for sync are waiting: one is draining" and "semantik fleet resume" in str(
        found.remedy
    )
    assert "semantik worker" in str(_unheard(["embed", "sync"], [row]).remedy)
    assert "broker.url" in str(_unheard(["sync"], [replace(row, state="ready")]).remedy)


def _limit_connections(url: str) -> None:
    """More workers than connections: the figures are the server's own."""
    from semantik_pipeline.doctor.servers import _connections
    from semantik_pipeline.ledger.database import server

    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.connect() as connection:
        about = server.about(connection)
    engine.dispose()
    assert about.limit and about.connections
    assert _connections(about, 1).status == "ok"
    crowd = about.limit // server.MOST_CONNECTIONS + 1
    assert _connections(about, crowd).status == "warning"


@pytest.mark.parametrize(
    ("number", "well", "told"),
    [
        (0, 0, "none"),
        (1, 1, "1 source, healthy"),
        (1, 0, "1 source, not healthy"),
        (3, 3, "3 sources, all healthy"),
        (3, 2, "3 sources, 2 of them healthy"),
    ],
)
def test_sources_are_counted_in_words(number: int, well: int, told: str) -> None:
    assert healthy(number, well) == told


def test_a_missing_state_file_is_none_and_not_revision_0(tmp_path: Path) -> None:
    with Runtime(load_settings(data_dir=tmp_path)) as runtime:
        found = looked(look_at_state, runtime)["plugin state"]
    assert found.message == f"none ({tmp_path / 'plugins.json'}): all plugins are enabled"


def test_a_broker_of_an_unknown_scheme_is_a_wrong_setting(tmp_path: Path) -> None:
    with Runtime(load_settings(data_dir=tmp_path, broker={"url": "foo://ada:hunter2@host"})) as runtime:
        found = looked(look_at_broker, runtime)["it"]
    assert (found.status, found.message) == ("broken", "broker.url has an unknown scheme: 'foo'.")
    assert "redis://" in str(found.remedy) and "hunter2" not in f"{found.message}{found.remedy}"
