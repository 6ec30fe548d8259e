"""Workers in the ledger: what they report, what operators ask of them, and what that says of the work that waits."""

from __future__ import annotations

import asyncio
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from sqlalchemy import func, select, update

from semantik_pipeline import fleet, maintenance
from semantik_pipeline.cli.fleet_views import asked_words, show_fleet
from semantik_pipeline.errors import PipelineError, SettingsError, UsageError
from semantik_pipeline.ledger.ingestion import sources
from semantik_pipeline.ledger.queue import backlog
from semantik_pipeline.ledger.queue import workers as ledger_workers
from semantik_pipeline.ledger.queue.work import claim
from semantik_pipeline.ledger.tables import work, workers
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.tally import Tally
from tests.announced import announced
from workers import embedded
from workers.embedded import embedded_worker
from workers.heartbeat import Paces, Presence
from workers.metrics import NAMES, Endpoint, FleetCollector, ProcessCollector, fleet_metrics, tallied
from workers.profiles import PROFILES, concurrency, profile

LEDGERS = ("sqlite", "postgres")


def register(pipeline, worker_id: str, *, queues=("chunk", "extract", "embed", "upsert"), profile: str = "all") -> None:
    report = {"queues": list(queues), "heartbeat": 5.0, "plugin_state": {"hash": "h", "revision": 1}, "plugins": {}}
    with pipeline.runtime.ledger.write() as tx:
        announced(tx, worker_id, host="here", pid=1, profile=profile, report=report)


def rows(pipeline) -> dict[str, ledger_workers.WorkerRow]:
    with pipeline.runtime.ledger.read() as tx:
        return {row.id: row for row in ledger_workers.list_workers(tx)}


def waiting(pipeline, *, run: bool = True) -> None:
    """One document that waits for its first stage; its source, unless ``run``."""
    pipeline.index(SourceRequest(connector="fake-connector", name="s", config={"documents": {"a": "text"}}), run=False)
    if run:
        pipeline.run("sync")


def test_a_worker_reports_hears_and_ends(make_pipeline):
    pipeline = make_pipeline()
    heard = []
    presence = Presence(pipeline.runtime, profile="all", queues=("embed", "upsert"), obey=heard.append)
    presence.begin()
    try:
        worker = rows(pipeline)[pipeline.runtime.worker_id]
        assert (worker.state, worker.profile, worker.alive) == ("ready", "all", True)
        assert worker.report["queues"] == ["embed", "upsert"]
        assert "fake-embedder" in {entry["id"] for entry in worker.report["plugins"]["loaded"]}
        assert fleet.ask(pipeline.runtime, [worker.host], "drain") == [worker.id]
        presence.beat()
        assert heard == ["drain"]
        assert rows(pipeline)[worker.id].command is None, "done, and not asked again"
        assert presence.live() is None and presence.ready() is None
    finally:
        presence.close()
    assert not rows(pipeline)[worker.id].alive


def test_a_worker_that_has_not_told_anybody_is_starting(make_pipeline):
    presence = Presence(make_pipeline().runtime, profile="all", queues=("embed",))
    presence._starting = True
    assert presence.ready() == "starting"
    presence._starting = False
    assert presence.ready() == "the ledger has not answered recently"


def test_a_worker_says_what_it_holds_and_what_it_can_give(make_pipeline):
    pipeline = make_pipeline()
    waiting(pipeline)
    pipeline.run()
    presence = Presence(pipeline.runtime, profile="all", queues=("chunk", "extract", "embed", "upsert"))
    activity = presence.activity()
    assert activity["stages"]["embed"]["units"] == activity["stages"]["upsert"]["units"] == 1
    assert activity["refusals"] == {}
    [generation] = pipeline.runtime.live_generations()
    assert activity["fingerprints"][str(generation)] == pipeline.runtime.generation(generation).fingerprints


def test_one_worker_restarts_at_a_time(make_pipeline):
    pipeline = make_pipeline()
    register(pipeline, "a")
    register(pipeline, "b")
    assert fleet.ask(pipeline.runtime, [], "restart") == ["a", "b"]
    with pipeline.runtime.ledger.write() as tx:
        assert ledger_workers.take_turn(tx, "a")
    with pipeline.runtime.ledger.write() as tx:
        assert not ledger_workers.take_turn(tx, "b")
        ledger_workers.end(tx, "a")
    with pipeline.runtime.ledger.write() as tx:
        assert ledger_workers.take_turn(tx, "b")


def test_a_process_that_runs_its_program_anew_keeps_its_turn_until_it_works_again(make_pipeline):
    pipeline = make_pipeline()
    register(pipeline, "here:1:old")
    register(pipeline, "b")
    ledger = pipeline.runtime.ledger
    with ledger.write() as tx:
        assert ledger_workers.take_turn(tx, "here:1:old")
    with ledger.write() as tx:
        tx.execute(update(workers).values(heartbeat=workers.c.heartbeat - 1000))
    with ledger.write() as tx:
        ledger_workers.keep_turn(tx, host="here", pid=1)
    with ledger.write() as tx:
        assert not ledger_workers.take_turn(tx, "b")
    register(pipeline, "here:1:new")
    assert rows(pipeline)["here:1:old"].state == "stopped"
    with ledger.write() as tx:
        assert ledger_workers.take_turn(tx, "b")


def test_a_worker_inside_another_process_hears_no_operator(make_pipeline):
    pipeline = make_pipeline(worker={"memory_mb": 1})  # it is above that, and nobody replaces it
    with embedded_worker(pipeline.runtime):
        [inside] = rows(pipeline).values()
        for command in ("drain", "resume", "restart"):
            for names in ([], [inside.id]):
                with pytest.raises(UsageError, match=f"process {inside.pid} .*Stop that process"):
                    fleet.ask(pipeline.runtime, names, command)
        presence = Presence(pipeline.runtime, profile="embedded", queues=())
        presence.beat()
        assert (presence.state, rows(pipeline)[inside.id].state, rows(pipeline)[inside.id].command) == (
            "ready",
            "ready",
            None,
        )
        register(pipeline, "a")
        assert fleet.ask(pipeline.runtime, [], "drain") == ["a"]


@pytest.mark.parametrize("sent", [False, True])
def test_a_process_that_works_alone_looks_again_at_what_a_killed_one_may_have_written_before_it_ends(
    make_pipeline, sent
):
    pipeline = make_pipeline(work={"poll": 60.0})  # no tick does it
    waiting(pipeline, run=False)
    pipeline.run()
    runtime = pipeline.runtime
    with embedded_worker(runtime):
        with runtime.ledger.write() as tx:
            tx.execute(update(work).values(reconcile=True))
        if sent:
            maintenance.reconcile(runtime)
            assert pipeline.unit("a")["stage"] == "upsert"
    assert (pipeline.unit("a")["stage"], pipeline.unit("a")["reconcile"]) == ("indexed", False)


def test_it_does_not_wait_for_what_nobody_can_look_at(make_pipeline):
    pipeline = make_pipeline()
    waiting(pipeline, run=False)
    pipeline.run()
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(work).values(stage="upsert", blocked="its plugin is disabled"))
    began = time.monotonic()
    embedded._reconcile(pipeline.runtime)
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(work).values(stage="indexed", blocked=None, reconcile=True))
    pipeline.runtime.stopping.set()
    embedded._reconcile(pipeline.runtime)  # no loop takes anything any more
    assert time.monotonic() - began < embedded.RECONCILE / 2
    assert pipeline.unit("a")["stage"] == "indexed"


def test_an_unknown_worker_is_named(make_pipeline):
    pipeline = make_pipeline()
    register(pipeline, "a")
    with pytest.raises(UsageError, match=r"'z'.*a"):
        fleet.ask(pipeline.runtime, ["z"], "drain")


def test_a_worker_that_dies_while_it_is_drained_is_lost_and_one_that_ends_is_not(make_pipeline):
    pipeline = make_pipeline()
    for name in ("dead", "ended", "drained"):
        register(pipeline, name)
    asked = fleet.ask(pipeline.runtime, [], "drain")
    with pipeline.runtime.ledger.write() as tx:
        ledger_workers.end(tx, "ended")
        ledger_workers.beat(tx, "drained", state="draining", activity={})
        tx.execute(update(workers).where(workers.c.id == "dead").values(heartbeat=workers.c.heartbeat - 1000))
    assert fleet.waiting_for(pipeline.runtime, asked, "drain") == []
    lost = fleet.lost(pipeline.runtime, asked)
    assert lost == ["dead"]
    told = asked_words("drain", asked, lost, wait=True)
    assert told == "2 workers drained. Lost meanwhile: dead. Other workers take over their work."
    assert asked_words("restart", ["a"], [], wait=True) == "1 worker restarted."


@pytest.mark.parametrize("when", ["claimed", "read"])
def test_a_worker_that_still_reads_a_source_is_not_drained(make_pipeline, monkeypatch, when):
    pipeline = make_pipeline()
    runtime, reads, told, goes_on = pipeline.runtime, threading.Event(), threading.Event(), threading.Event()
    waiting(pipeline, run=False)
    connector = runtime.host.registry.get("fake-connector").cls
    step = "authenticate" if when == "claimed" else "fetch"
    stepping, holding, in_hand = getattr(connector, step), runtime.keeper.holding, runtime.in_hand

    async def slowly(self, *reference):
        reads.set()
        await asyncio.to_thread(goes_on.wait, 30)
        return await stepping(self, *reference)

    def hold(*claim):
        reads.set()
        runtime.resting.wait(30)
        told.clear()
        told.wait(0.2)  # it is committed, and not in anybody's hand yet
        return holding(*claim)

    def look(names):
        found = in_hand(names)
        told.set()
        return found

    monkeypatch.setattr(connector, step, slowly)
    monkeypatch.setattr(runtime, "in_hand", look)
    if when == "claimed":
        monkeypatch.setattr(runtime.keeper, "holding", hold)
    presence = Presence(runtime, profile="all", queues=("sync",), obey=lambda command: runtime.resting.set())
    presence.begin()
    slice_of_it = threading.Thread(target=work_on, args=(runtime, "sync"))
    try:
        slice_of_it.start()
        assert reads.wait(30)
        asked = fleet.ask(runtime, [], "drain")
        presence.beat()
        assert fleet.waiting_for(runtime, asked, "drain") == asked
        view = fleet.view(runtime)
        assert view["workers"][0]["in_progress"] == {"stages": {"sync": 1}, "documents": [], "sources": ["s"]}
        shown = Console(file=StringIO(), width=200)
        show_fleet(shown, view)
        assert "1 sync" in shown.file.getvalue()
        goes_on.set()
        slice_of_it.join(30)
        presence.beat()
        assert fleet.waiting_for(runtime, asked, "drain") == []
        assert pipeline.stages() == ({"a": "chunk"} if when == "read" else {}), "what it had read is kept"
    finally:
        goes_on.set()
        slice_of_it.join(30)
        presence.close()


@pytest.mark.parametrize("stage", ["sync", "chunk"])
def test_a_worker_that_is_drained_while_it_waits_for_a_place_claims_nothing(make_pipeline, monkeypatch, stage):
    pipeline = make_pipeline()
    runtime, rung, held = pipeline.runtime, [], []
    waiting(pipeline, run=stage != "sync")
    beside, holding = runtime.room.beside, runtime.keeper.holding

    def late(give_up):
        place = beside(give_up)
        runtime.resting.set()
        return place

    def hold(*claim):
        held.append(claim)
        return holding(*claim)

    monkeypatch.setattr(runtime.room, "beside", late)
    monkeypatch.setattr(runtime.keeper, "holding", hold)
    runtime.ring = rung.append
    work_on(runtime, stage)
    assert held == []
    assert rung == (["sync"] if stage == "sync" else [])


def test_work_that_nobody_takes_is_blocked_until_somebody_does(make_pipeline):
    pipeline = make_pipeline()
    waiting(pipeline)

    def blocked() -> list[str]:
        with pipeline.runtime.ledger.read() as tx:
            return [one["reason"] for one in backlog.blocked(tx, ledger_workers.living(tx))]

    assert blocked() == [ledger_workers.NOBODY]
    register(pipeline, "gpu", queues=("embed",))
    assert blocked() == ["no worker with a profile that serves chunk is running"]
    register(pipeline, "cpu", queues=("chunk",))
    with pipeline.runtime.ledger.write() as tx:
        ledger_workers.beat(tx, "cpu", state="ready", activity={"refusals": {"1:chunk": "its parser is another"}})
    assert any("its parser is another" in reason for reason in blocked())
    assert not any("profile" in reason for reason in blocked())  # the other one's is no news: this one would take it
    register(pipeline, "cpu2", queues=("chunk",))
    assert blocked() == []


def test_a_source_that_no_worker_reads_is_blocked_and_drained_workers_are_none(make_pipeline):
    pipeline = make_pipeline()
    pipeline.index(SourceRequest(connector="fake-connector", name="notes", config={"documents": {}}), run=False)

    def blocked() -> list[tuple[str, str, str]]:
        with pipeline.runtime.ledger.read() as tx:
            found = backlog.blocked(tx, ledger_workers.living(tx))
        return [(one["stage"], one["source"], one["reason"]) for one in found]

    assert blocked() == [("sync", "notes", ledger_workers.NOBODY)]
    register(pipeline, "cpu", queues=("sync", "chunk"))
    assert blocked() == [] and fleet.view(pipeline.runtime)["stages"]["chunk"]["workers"] == 1
    with pipeline.runtime.ledger.write() as tx:
        ledger_workers.beat(tx, "cpu", state="draining", activity={})
    assert blocked() == [("sync", "notes", "cpu is draining")]
    with pipeline.runtime.ledger.read() as tx:
        [row] = ledger_workers.living(tx)
    assert not row.takes("chunk") and replace(row, state="restarting").takes("chunk")
    view = fleet.view(pipeline.runtime)
    assert view["stages"]["chunk"]["workers"] == 0
    with pipeline.runtime.ledger.read() as tx:
        view["blocked"] = backlog.blocked(tx, ledger_workers.living(tx))
    shown = Console(file=StringIO(), width=200)
    show_fleet(shown, view)
    assert "blocked: the source 'notes' of 'default' is waiting to be read: cpu is draining" in shown.file.getvalue()
    [gauge] = [one for one in fleet_metrics(view) if one.name == "semantik_blocked_units"]
    assert gauge.samples == []  # it counts documents
    with pipeline.runtime.ledger.write() as tx:
        sources.pause(tx, 1, "by hand")
    assert blocked() == []


def test_the_view_of_a_fleet_adds_up(make_pipeline):
    pipeline = make_pipeline()
    waiting(pipeline)
    register(pipeline, "old")
    found = fleet.view(pipeline.runtime)
    assert found["stages"]["chunk"]["waiting"] == 1 and found["stages"]["chunk"]["workers"] == 1
    assert found["workers"][0]["plugin_state_current"] is False
    assert found["operations"] == {"running": 1, "paused": 0}
    assert found["sources"]["idle"] + found["sources"]["due"] + found["sources"]["running"] == 1


def test_without_a_fleet_nobody_is_missed_and_what_to_type_is_said(make_pipeline):
    pipeline = make_pipeline()
    waiting(pipeline)
    found = fleet.view(pipeline.runtime)
    assert (found["distributed"], found["blocked"]) == (False, [])
    assert found["stages"]["chunk"]["waiting"] == 1
    shown = Console(file=StringIO(), width=200)
    show_fleet(shown, {**found, "owner": {"pid": 7, "command": "semantik scheduler"}})
    told = shown.file.getvalue()
    assert "No fleet is configured" in told and "In use by: process 7 (semantik scheduler)" in told
    assert "`semantik operations resume`" in told and "`semantik worker`" not in told
    show_fleet(shown, {**found, "distributed": True})
    assert "No worker is running. Start one on a host of the fleet: semantik worker" in shown.file.getvalue()


def test_metrics_and_probes_over_http(make_pipeline):
    pipeline = make_pipeline()
    waiting(pipeline)
    pipeline.run()
    reasons: dict[str, str | None] = {"live": None, "ready": "draining"}
    collectors = [ProcessCollector(pipeline.runtime), FleetCollector(pipeline.runtime)]
    endpoint = Endpoint("127.0.0.1", 0, collectors, live=lambda: reasons["live"], ready=lambda: reasons["ready"])
    try:
        base = f"http://127.0.0.1:{endpoint.port}"
        text = urllib.request.urlopen(f"{base}/metrics").read().decode()
        assert urllib.request.urlopen(f"{base}/live").status == 200
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{base}/ready")
        assert refused.value.code == 503 and refused.value.read() == b"draining\n"
        with pytest.raises(SettingsError, match="metrics"):
            Endpoint("127.0.0.1", endpoint.port, [], live=lambda: None, ready=lambda: None)
    finally:
        endpoint.close()
    assert 'semantik_units_total{outcome="done",stage="upsert"} 1.0' in text
    assert 'semantik_backlog_units{stage="embed"} 0.0' in text
    exported = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE semantik_")}
    assert exported >= NAMES


def test_blocked_units_of_several_collections_are_added_up(make_pipeline):
    pipeline = make_pipeline()
    waiting(pipeline)
    source = SourceRequest(connector="fake-connector", name="t", config={"documents": {"a": "text", "b": "more"}})
    pipeline.index(source, collection="another", run=False)
    pipeline.run("sync")
    register(pipeline, "gpu", queues=("embed",))
    view = fleet.view(pipeline.runtime)
    with pipeline.runtime.ledger.read() as tx:
        view["blocked"] = backlog.blocked(tx, ledger_workers.living(tx))
    assert sorted(one["units"] for one in view["blocked"]) == [1, 2]
    [gauge] = [one for one in fleet_metrics(view) if one.name == "semantik_blocked_units"]
    assert [(sample.labels, sample.value) for sample in gauge.samples] == [({"stage": "chunk"}, 3)]


def test_what_is_set_aside_and_whose_worker_dies_is_counted_by_stage(make_pipeline):
    pipeline = make_pipeline(work={"max_attempts": 1})
    config = {"documents": {"a": "text", "b": "more"}, "fail_fetch": {"b": "permanent"}}
    pipeline.index(SourceRequest(connector="fake-connector", name="s", config=config), run=False)
    pipeline.run("sync")
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(work).where(work.c.stage == "chunk").values(suspect=True))
        assert claim(tx, "chunk", worker="w", lease=0.0, limit=1, alone=True)
    maintenance.tick(pipeline.runtime, alone=True)
    tally = pipeline.runtime.tally
    died = (("error_type", "WorkerDied"), ("stage", "chunk"))
    failed = (("error_type", "PermanentError"), ("stage", "sync"))
    assert tally.counts("quarantines") == {died: 1, failed: 1}
    assert tally.counts("lease_expiries") == {(("stage", "chunk"),): 1, (("stage", "sync"),): 0}


def test_rates_are_those_of_late() -> None:
    tally = Tally()
    paces = Paces(tally)
    tally.count("units", 10, stage="embed", outcome="done")
    paces.look()
    time.sleep(0.05)
    tally.count("units", 5, stage="embed", outcome="done")
    tally.count("units", 7, stage="embed", outcome="released")
    found = paces.look()["embed"]
    assert found["units"] == 15
    assert 0 < found["units_per_second"] <= 5 / 0.05


def test_a_histogram_counts_what_is_below_each_bound() -> None:
    tally = Tally()
    for value in (0.001, 0.3, 1000.0):
        tally.observe("stage_duration_seconds", value, stage="embed")
    [family] = [metric for metric in tallied(tally) if metric.name == "semantik_stage_duration_seconds"]
    found = {sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")}
    assert (found["0.005"], found["0.5"], found["300.0"], found["+Inf"]) == (1, 2, 2, 3)


def test_profiles_answer_what_they_are_for() -> None:
    assert profile("gpu").queues[0] == "embed" and "embed" not in profile("cpu").queues
    assert set(PROFILES["all"].queues) >= set(PROFILES["gpu"].queues)
    assert concurrency(profile("cpu"), 3) == len(profile("cpu").queues) + 6
    with pytest.raises(SettingsError, match="all, gpu, cpu, search"):
        profile("tpu")


def test_what_an_ending_run_can_t_finish_in_time_is_given_back_unblamed(make_pipeline):
    """An embedder that takes longer than the soft shutdown: its documents are free, nobody suspects them, and what it
    still finds changes nothing."""
    slow = {"fake-embedder": {"sleep_ms_per_text": 300}}
    pipeline = make_pipeline(plugins=slow, worker={"soft_shutdown": 0.5})
    texts = {f"d{number}": f"text number {number}" for number in range(20)}
    source = SourceRequest(connector="fake-connector", name="slow", config={"documents": texts})
    with embedded_worker(pipeline.runtime):
        pipeline.index(source, run=False)
        deadline = time.monotonic() + 20
        while not leased(pipeline, "embed"):
            assert time.monotonic() < deadline, pipeline.stages()
            time.sleep(0.02)
        began = time.monotonic()
    assert time.monotonic() - began < 15
    still_at_work = [thread for thread in threading.enumerate() if thread.name == "embedded-worker"]
    for _ in range(2):
        with pipeline.runtime.ledger.read() as tx:
            rows = tx.execute(select(work.c.suspect, work.c.attempts, work.c.lease_token)).all()
        assert len(rows) == 20 and set(rows) == {(False, 0, None)}
        for thread in still_at_work:  # none, where the machine was so busy that the end came after the work
            thread.join(30)


def test_what_works_on_after_the_end_starts_nothing_that_nobody_ends(make_pipeline):
    runtime = make_pipeline().runtime
    runtime.close()
    for part in ("ledger", "host", "children", "keeper"):
        with pytest.raises(PipelineError, match="has stopped"):
            getattr(runtime, part)


def leased(pipeline, stage: str) -> int:
    with pipeline.runtime.ledger.read() as tx:
        held = work.c.lease_token.is_not(None)
        return tx.execute(select(func.count()).select_from(work).where(work.c.stage == stage, held)).scalar_one()
