"""One bad thing keeps nothing else of a maintenance tick from being done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select, update

from semantik_pipeline import maintenance, sources, trash
from semantik_pipeline.errors import ServiceUnavailable
from semantik_pipeline.generations import building
from semantik_pipeline.ledger import reconciling, removal
from semantik_pipeline.ledger import sources as ledger_sources
from semantik_pipeline.ledger.tables import documents
from semantik_pipeline.ledger.tables import sources as table
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.schedules import Schedule
from semantik_pipeline.sources import NewSource
from tests.integration.conftest import FAKE_COLLECTION

LEDGERS = ("sqlite", "postgres")


def fail(*_: Any, **__: Any) -> Any:
    raise ValueError("nobody expected this")


def counted(pipeline, step: str) -> float:
    return pipeline.runtime.tally.counts("maintenance_failures").get((("step", step),), 0)


def request(name: str, **texts: str) -> SourceRequest:
    found = {f"{name}/{key}": text for key, text in texts.items()}
    return SourceRequest(connector="fake-connector", name=name, config={"documents": found})


@pytest.mark.parametrize(
    ("module", "function", "step"),
    [
        (maintenance, "_free", "leases"),
        (reconciling, "reconcile", "reconcile"),
        (sources, "begin_due", "schedules"),
        (building, "advance", "builds"),
        (trash, "advance", "trash"),
        (maintenance, "_sweep", "sweep"),
    ],
)
def test_bells_are_rung_and_the_rest_is_done_whatever_fails(
    make_pipeline, monkeypatch: pytest.MonkeyPatch, module: Any, function: str, step: str
) -> None:
    pipeline = make_pipeline()
    pipeline.index(request("fake", a="alpha"), run=False)
    rung: list[str] = []
    done: list[str] = []
    monkeypatch.setattr(pipeline.runtime, "ring", rung.append)
    monkeypatch.setattr(maintenance.vocabulary, "advance", lambda runtime, seconds: bool(done.append("vocabulary")))
    monkeypatch.setattr(module, function, fail)
    maintenance.tick(pipeline.runtime)
    assert "sync" in rung
    assert done == ["vocabulary"]
    assert counted(pipeline, step) == 1


def test_a_ledger_that_is_away_ends_the_tick_at_once(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline()

    def away(*_: Any) -> None:
        raise ServiceUnavailable("The ledger does not answer.")

    monkeypatch.setattr(maintenance, "_free", away)
    monkeypatch.setattr(maintenance, "ring_due", fail)
    with pytest.raises(ServiceUnavailable):
        maintenance.tick(pipeline.runtime)
    assert counted(pipeline, "bells") == 0


def added(pipeline, name: str) -> dict[str, Any]:
    pipeline.runtime.collection("default", FAKE_COLLECTION)
    config = {"documents": {f"{name}/a": "alpha"}}
    new = NewSource(connector="fake-connector", name=name, config=config, schedule=Schedule(every=3600.0))
    return sources.add(pipeline.runtime, new, collection="default")


def test_a_source_with_a_schedule_that_makes_no_sense_keeps_no_other_from_its_time(make_pipeline) -> None:
    pipeline = make_pipeline()
    bad, good = added(pipeline, "bad"), added(pipeline, "good")
    with pipeline.runtime.ledger.write() as tx:
        gone = {"cron": "0 3 * * *", "timezone": "Atlantis/Poseidonis"}
        tx.execute(update(table).where(table.c.id == bad["id"]).values(due_at=0.0, schedule=gone))
        tx.execute(update(table).where(table.c.id == good["id"]).values(due_at=1.0))
    assert len(sources.begin_due(pipeline.runtime)) == 1
    with pipeline.runtime.ledger.read() as tx:
        shown = {row["name"]: row for row in ledger_sources.list_sources(tx)}
    assert (shown["good"]["state"], shown["bad"]["state"]) == ("waiting", "failing")
    assert "can't be begun" in shown["bad"]["error"]["message"]
    assert shown["bad"]["due_at"] > shown["bad"]["now"]


def test_a_removal_that_fails_keeps_no_other_waiting(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline()
    pipeline.index(request("bad", a="alpha"), request("good", a="beta"))
    with pipeline.runtime.ledger.read() as tx:
        bad, good = (ledger_sources.find_source(tx, name) for name in ("bad", "good"))
    for source in (bad, good):
        sources.remove(pipeline.runtime, source, purge=True)
    step = removal.step
    monkeypatch.setattr(
        removal, "step", lambda tx, source_id: fail() if source_id == bad["id"] else step(tx, source_id)
    )
    maintenance.tick(pipeline.runtime)
    with pipeline.runtime.ledger.read() as tx:
        left = select(documents.c.source_id).where(documents.c.deleted_at.is_(None))
        assert tx.execute(left).scalars().all() == [bad["id"]]
    assert counted(pipeline, "removals") == 1


def test_a_collection_that_can_t_be_purged_keeps_no_other_in_the_trash(make_pipeline, monkeypatch) -> None:
    pipeline = make_pipeline()
    for name in ("bad", "good"):
        pipeline.index(request(name, a="alpha"), collection=name)
    names = {trash.delete_collection(pipeline.runtime, name, purge=True)["id"]: name for name in ("bad", "good")}
    purge = trash._purge_collection

    def some(runtime: Any, collection_id: int) -> Iterator[bool]:
        if names[collection_id] == "bad":
            fail()
        yield from purge(runtime, collection_id)

    monkeypatch.setattr(trash, "_purge_collection", some)
    while maintenance.tick(pipeline.runtime):
        pass
    with pipeline.runtime.ledger.read() as tx:
        left = tx.execute(select(documents.c.unique_id)).scalars().all()
    assert left == ["bad/a"]
    assert counted(pipeline, "trash") >= 1
