"""What must be true when a fleet has finished: the account that ends every chaos test.

:func:`check_account` checks that every document is accounted for, that ledger and store agree, that nothing was
embedded twice beyond the batches in flight, and that no innocent document is blamed.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import numpy as np
from sqlalchemy import and_, case, func, or_, select, text

from semantik_pipeline.ledger import Ledger
from semantik_pipeline.ledger.tables import chunks, documents, work
from semantik_pipeline.pipeline import STAGES
from semantik_pipeline.testing import FakeEmbedder
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from tests.chaos.fleet import UNSAVED, Fleet
from tests.chaos.servers import until

#: Makes the database log each attempt that is charged to a document. The ledger itself forgets attempts when a document
#: goes on.
CHARGES = (
    "create table test_charges (document_id bigint not null)",
    """create function test_charge() returns trigger language plpgsql as
    $$ begin insert into test_charges values (new.document_id); return new; end $$""",
    """create trigger test_charge after update of attempts on work for each row
    when (new.attempts > old.attempts) execute function test_charge()""",
)


def record_charges(ledger: Ledger) -> None:
    """Start to log the attempts that are charged to documents. Call this once, before the fleet works."""
    with ledger.write() as tx:
        for statement in CHARGES:
            tx.execute(text(statement))


def check_account(
    fleet: Fleet, *, expected: int, poison: str | None = None, interruptions: int = 0, cancelled: bool = False
) -> None:
    """Check the end state of a fleet whose sources have ``expected`` documents.

    ``poison`` is in the name of the one document that is to blame and must be in quarantine. ``interruptions`` is how
    often a process could not save what it may have embedded, for a reason other than the fleet's own kills and freezes,
    for which the fleet counts the texts at risk. ``cancelled``: an operation was cancelled, so documents may be parked
    at a stage; all others must be indexed.
    """
    until(lambda: not _moving(fleet.ledger), "all units have stopped, also those that a late worker made stale")
    _check_states(fleet.ledger, expected, quarantined=0 if poison is None else 1, cancelled=cancelled)
    _check_blame(fleet, poison)
    check_store(fleet)
    _check_embedded_twice(fleet, interruptions)
    assert fleet.without_torch()


def check_store(fleet: Fleet) -> None:
    """Check that ledger and store agree point by point."""
    report = fleet.semantik("verify", code=None)
    assert (report["missing"], report["orphaned"], report["stale"]) == (0, 0, 0), report
    assert report["points_found"] == report["points_expected"] > 0


def check_vectors(fleet: Fleet, store: QdrantDouble) -> None:
    """Check that every point has the vector that its generation's frozen options give for its model input.

    The vectors are computed again with the fake embedder. Its option ``salt`` changes a vector but not its length, so a
    point that was embedded with other options is found.
    """
    current = and_(
        work.c.generation_id == chunks.c.generation_id,
        work.c.document_id == chunks.c.document_id,
        work.c.chunks_epoch == chunks.c.epoch,
    )
    model_inputs = select(chunks.c.point_id, chunks.c.lead + chunks.c.text).join(work, current)
    checked = 0
    for number in fleet.runtime.live_generations():
        generation = fleet.runtime.generation(number)
        with fleet.ledger.read() as tx:
            inputs = dict(map(tuple, tx.execute(model_inputs.where(chunks.c.generation_id == number)).all()))
        found = store.dense(generation.index)
        assert found.keys() == inputs.keys()
        options = generation.config["embedding"]["options"]
        expected = asyncio.run(FakeEmbedder(options).embed_texts(list(inputs.values())))
        given = np.array([found[point] for point in inputs])
        wrong = int((~np.isclose(given, expected, atol=1e-5).all(axis=1)).sum())
        assert not wrong, f"{wrong} of {len(given)} points have vectors of other options than {options}"
        checked += len(given)
    assert checked


def _moving(ledger: Ledger) -> int:
    """Return the number of units that are waiting for a stage, are held by a worker, or must be reconciled.

    After the end of an operation these are units whose points a worker without a lease touched, and units that a worker
    held when the operation was cancelled.
    """
    moving = or_(
        and_(work.c.stage.in_(STAGES), or_(work.c.held_by.is_(None), work.c.lease_token.is_not(None))),
        work.c.reconcile,
    )
    with ledger.read() as tx:
        return tx.execute(select(func.count()).select_from(work).where(moving)).scalar_one()


def _check_states(ledger: Ledger, expected: int, *, quarantined: int, cancelled: bool) -> None:
    """Check that every document that is not deleted is indexed or, as many as given, in quarantine."""
    parked = and_(work.c.stage.in_(STAGES), work.c.held_by.is_not(None))
    stage = case((parked, "parked"), else_=work.c.stage)
    joined = select(stage, func.count()).join(documents, documents.c.id == work.c.document_id)
    with ledger.read() as tx:
        rows = tx.execute(joined.where(documents.c.deleted_at.is_(None)).group_by(stage)).all()
    states = Counter(dict(map(tuple, rows)))
    expected -= states.pop("parked", 0) if cancelled else 0
    assert states == Counter({"indexed": expected - quarantined, "quarantined": quarantined}) - Counter(), states


def _check_blame(fleet: Fleet, poison: str | None) -> None:
    """Check that no attempt was charged to a document that is not to blame, except for kills and freezes.

    Each of these may hit one suspect that runs alone, which is then charged, but never up to quarantine.
    """
    charged = {name: count for name, count in _charges(fleet.ledger).items() if poison is None or poison not in name}
    disturbances = f"{fleet.kills} kills and {fleet.freezes} freezes"
    message = f"attempts were charged to innocent documents, after {disturbances}: {charged}"
    assert sum(charged.values()) <= fleet.kills + fleet.freezes, message
    assert max(charged.values(), default=0) < fleet.max_attempts, message


def _charges(ledger: Ledger) -> dict[str, int]:
    """Return how many attempts were charged to each document, by its name, including those forgotten since."""
    charged = text("select document_id from test_charges")
    with ledger.read() as tx:
        counts = Counter(tx.execute(charged).scalars())
        names = select(documents.c.id, documents.c.unique_id).where(documents.c.id.in_(sorted(counts)))
        return {name: counts[document_id] for document_id, name in tx.execute(names)}


def _check_embedded_twice(fleet: Fleet, interruptions: int) -> None:
    """Check that no more texts were embedded twice than may have been in flight when processes were disturbed."""
    texts = [line for log in sorted(fleet.folder.glob("embedded*.log")) for line in log.read_text().splitlines()]
    doubled = len(texts) - len(set(texts))
    allowed = fleet.unsaved + fleet.largest_pool * UNSAVED * interruptions
    fleet.record("embedded twice", f"{doubled} of {len(texts)} texts, where {allowed} may have been in flight")
    assert doubled <= allowed, f"{doubled} texts were embedded twice; {allowed} may have been in flight"
