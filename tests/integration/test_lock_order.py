"""Locks are taken in order: sources, operations, documents, units, each by their keys.

A transaction that waits for a lock holds none that comes after it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import Select, select, text, update

from semantik_pipeline import generations, operations
from semantik_pipeline.generations import building
from semantik_pipeline.ledger import Ledger
from semantik_pipeline.ledger.documents import selection
from semantik_pipeline.ledger.queue import reconciling
from semantik_pipeline.ledger.queue import work as claims
from semantik_pipeline.ledger.queue.renewals import Renewal
from semantik_pipeline.ledger.tables import documents, sources, work
from semantik_pipeline.ledger.tables import operations as table
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from tests.integration.conftest import Pipeline, texts
from workers.startup import give_back

pytestmark = pytest.mark.parametrize("ledger", ["postgres"], indirect=True)

WAITING = text("select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")


def source(**contents: str) -> SourceRequest:
    return SourceRequest(connector="fake-connector", name="fake", config={"documents": contents})


def while_waiting(ledger: Ledger, *, held: Select[Any], call: Callable[[], Any], free: Select[Any]) -> None:
    """Somebody has the rows ``held``, and ``call`` waits for them: it must not have those that are to be ``free``."""
    with ThreadPoolExecutor(1) as pool:
        with ledger.write() as tx:
            assert tx.execute(held.with_for_update()).all()
            called = pool.submit(call)
            until = time.monotonic() + 10
            with ledger.read() as beside:
                while not called.done() and not beside.execute(WAITING).scalar_one() and time.monotonic() < until:
                    time.sleep(0.02)
            assert tx.execute(free.with_for_update(nowait=True)).all()
        called.result(timeout=30)


def test_an_operation_that_is_run_again_takes_units_after_documents(make_pipeline) -> None:
    pipeline = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON", "fail_as": "permanent"}})
    first = pipeline.index(source(bad="POISON here", good="a text"), run=False)["id"]
    pipeline.run("sync", "chunk", "extract")
    with pipeline.runtime.ledger.write() as tx:
        good = select(documents.c.id).where(documents.c.unique_id == "good").scalar_subquery()
        tx.execute(update(work).where(work.c.document_id == good).values(not_before=1e12))
    work_on(pipeline.runtime, "embed")
    assert pipeline.stages() == {"bad": "quarantined", "good": "embed"}
    operations.cancel(pipeline.runtime, first)
    while_waiting(
        pipeline.runtime.ledger,
        held=select(documents.c.id).where(documents.c.unique_id == "bad"),
        call=lambda: operations.retry(pipeline.runtime, first),
        free=select(work.c.document_id),
    )
    pipeline.run()
    assert pipeline.stages() == {"bad": "quarantined", "good": "indexed"}


def test_a_rerun_takes_its_operation_after_sources(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "PAGE", 1)
    pipeline = make_pipeline()
    pipeline.index(source(one="a text", two="a text"))
    again = generations.rerun(pipeline.runtime, "default", {"must": []})
    while_waiting(
        pipeline.runtime.ledger,
        held=select(sources.c.id),
        call=lambda: building.advance(pipeline.runtime, seconds=5),
        free=select(table.c.id).where(table.c.id == again),
    )


def test_who_reconciles_waits_for_nobody(make_pipeline) -> None:
    pipeline = make_pipeline()
    pipeline.index(source(one="a text", two="a text"))
    ledger = pipeline.runtime.ledger

    def reconcile() -> int:
        with ledger.write() as tx:
            return reconciling.reconcile(tx)

    with ledger.write() as tx:
        tx.execute(update(work).values(reconcile=True))
    with ledger.write() as tx, ThreadPoolExecutor(1) as pool:
        tx.execute(select(work.c.document_id).where(work.c.document_id == 1).with_for_update()).all()
        assert pool.submit(reconcile).result(timeout=10) == 1
    assert reconcile() == 1
    assert set(pipeline.stages().values()) == {"upsert"}


def test_a_sync_takes_a_batch_s_documents_in_their_order_whatever_becomes_of_each(make_pipeline, tmp_path) -> None:
    """One has a new hint, one is changed, two are as they were."""
    docs = texts(tmp_path / "docs", a="a text", b="a text", c="a text", d="a text")
    pipeline = make_pipeline()
    pipeline.folder(docs)
    ids = {pipeline.unit(f"{name}.txt")["document_id"]: name for name in "abcd"}
    assert "".join(ids[one] for one in sorted(ids)) == "abcd"
    os.utime(docs / "a.txt", (1e9, 1e9))
    (docs / "b.txt").write_text("another text")
    pipeline.folder(docs, run=False)
    while_waiting(
        pipeline.runtime.ledger,
        held=select(documents.c.id).where(documents.c.id == min(ids)),
        call=lambda: work_on(pipeline.runtime, "sync"),
        free=select(documents.c.id).where(documents.c.id != min(ids)),
    )
    pipeline.run()
    assert set(pipeline.stages().values()) == {"indexed"}


def test_an_ending_process_gives_back_one_claim_after_the_other(make_pipeline) -> None:
    """Units of several claims, locked claim by claim, would be in no order."""
    pipeline = make_pipeline()
    pipeline.index(source(one="a text", two="a text"), run=False)
    pipeline.run("sync")
    runtime, held = pipeline.runtime, ExitStack()
    with held:
        for _ in range(2):
            with runtime.ledger.write() as tx:
                claim = claims.claim(tx, "chunk", worker="w", lease=60, limit=1)
            held.enter_context(runtime.keeper.holding(claim.token, lambda: Renewal(held=1, prolonged=1), 60))
        _, second = runtime.keeper.tokens()
        while_waiting(
            runtime.ledger,
            held=select(work.c.document_id).where(work.c.lease_token == second),
            call=lambda: give_back(runtime),
            free=select(work.c.document_id).where(work.c.document_id != _document_of(pipeline, second)),
        )
    pipeline.run()
    assert pipeline.stages() == {"one": "indexed", "two": "indexed"}


def _document_of(pipeline: Pipeline, token: str) -> int:
    with pipeline.runtime.ledger.read() as tx:
        return tx.execute(select(work.c.document_id).where(work.c.lease_token == token)).scalar_one()
