"""What is asked again and again while work goes on reads what could be claimed, however much else the ledger has."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import select, text, update

from semantik_pipeline.ledger.database.bulk import insert_rows
from semantik_pipeline.ledger.documents import document_reports
from semantik_pipeline.ledger.queue import backlog, due, fair_queue, picking, reconciling, renewals, work
from semantik_pipeline.ledger.tables import documents
from semantik_pipeline.ledger.tables import work as units
from semantik_pipeline.operations import SourceRequest
from tests.plans import plans

LEDGERS = ("sqlite", "postgres")

#: Units that an operation holds; those that are indexed already.
HELD, INDEXED = 2000, 2000


@pytest.fixture
def crowded(make_pipeline):
    """A pipeline whose ledger has a few units that could be claimed among many which could not."""
    pipeline = make_pipeline()
    config = {"documents": {f"d{number}": f"text {number}" for number in range(20)}}
    operation_id = pipeline.index(SourceRequest(connector="fake-connector", name="a", config=config), run=False)["id"]
    pipeline.run("sync")
    with pipeline.runtime.ledger.write() as tx:
        document = dict(tx.execute(select(documents).limit(1)).mappings().one())
        unit = dict(tx.execute(select(units).limit(1)).mappings().one())
        del document["id"]
        rows = [{**document, "unique_id": f"crowd {number}"} for number in range(HELD + INDEXED)]
        made = [row[0] for row in insert_rows(tx, documents, rows, returning=("id",))]
        kinds = [{"held_by": operation_id}] * HELD + [{"stage": "indexed"}] * INDEXED
        crowd = [{**unit, "document_id": one, **kind} for one, kind in zip(made, kinds, strict=True)]
        # whatever a unit's values are, each row names the same columns
        insert_rows(tx, units, [{**row, "turn": 0.0, "held_by": row["held_by"]} for row in crowd])
    with pipeline.runtime.ledger.write() as tx:
        for table in ("work", "documents", "operation_items"):
            tx.execute(text(f"analyze {table}"))
    return pipeline


@pytest.mark.parametrize(
    "ask",
    [
        lambda tx: picking.pick(tx, "chunk", False, 10, None, picking.ALL),
        lambda tx: due.at(tx, "chunk"),
        lambda tx: due.hastened(tx, "chunk", front=10),
        fair_queue.virtual_time,
    ],
    ids=["pick", "due", "hastened", "virtual_time"],
)
def test_nobody_who_looks_for_work_reads_past_what_an_operation_holds(crowded, ask) -> None:
    plan = plans(crowded.runtime.ledger, ask, about="FROM work")
    assert "ix_work_claimable" in plan
    assert "ix_work_generation_id_stage" not in plan


def test_an_index_of_what_can_be_claimed_has_nothing_that_is_held(crowded) -> None:
    with crowded.runtime.ledger.write() as tx:
        keys, _ = picking.pick(tx, "chunk", False, HELD, None, picking.ALL)
        assert len(keys) == 20
        tx.execute(update(units).where(units.c.held_by.is_not(None)).values(held_by=None))
        keys, _ = picking.pick(tx, "chunk", False, 2 * HELD, None, picking.ALL)
        assert len(keys) == 20 + HELD, "what is let go is claimed"


@pytest.mark.parametrize(("alone", "waits"), [(False, "off"), (True, "on")], ids=["in company", "alone"])
def test_only_leases_in_company_are_committed_before_they_are_on_the_disk(crowded, alone: bool, waits: str) -> None:
    with crowded.runtime.ledger.write() as tx:
        if tx.dialect.name == "sqlite":
            pytest.skip("SQLite in WAL mode waits for no disk.")
        tx.execute(update(units).where(units.c.held_by.is_(None)).values(suspect=alone))
        tx.execute(text("set local synchronous_commit = on"))
        claim = work.claim(tx, "chunk", worker="me", lease=60, limit=5, alone=alone)
        assert claim is not None
        assert tx.execute(text("show synchronous_commit")).scalar_one() == waits
        renewals.renew(tx, claim.token, 60)
        assert tx.execute(text("show synchronous_commit")).scalar_one() == "off"


def test_a_claim_finds_its_units_by_its_token(crowded) -> None:
    plan = plans(crowded.runtime.ledger, lambda tx: work.held(tx, uuid.uuid4().hex), about="FROM work")
    assert "ix_work_lease_token" in plan


@pytest.mark.parametrize("ask", [backlog.by_stage, document_reports.totals], ids=["by_stage", "totals"])
def test_what_is_on_its_way_is_counted_without_reading_what_is_indexed(crowded, ask) -> None:
    with crowded.runtime.ledger.write() as tx:
        tx.execute(update(units).where(units.c.held_by.is_not(None)).values(held_by=None, stage="indexed"))
    with crowded.runtime.ledger.write() as tx:
        tx.execute(text("analyze work"))
    assert "ix_work_generation_id_stage" in plans(crowded.runtime.ledger, ask, about="stage IN")


def test_what_lost_its_lease_is_found_without_reading_what_is_indexed(crowded) -> None:
    assert "ix_work_reconcile" in plans(crowded.runtime.ledger, reconciling.reconcile, about="FROM work")
