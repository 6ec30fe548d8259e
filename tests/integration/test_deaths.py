"""Only a death alone counts.

Simulated workers die by chance, and of poison, over the real ledger and the real rooms.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from sqlalchemy import select, update

from semantik_pipeline import maintenance
from semantik_pipeline.ledger.queue import due, expired_leases, renewals, work
from semantik_pipeline.ledger.queue.renewals import Renewal
from semantik_pipeline.ledger.queue.work import STAGES, Claim
from semantik_pipeline.ledger.tables import chores, documents
from semantik_pipeline.ledger.tables import work as units
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.stages.room import Place, Room

LEDGERS = ("sqlite", "postgres")

ATTEMPTS = 3

#: Document -> the stage in which it kills whoever works on it.
POISON = {"poison-chunk": "chunk", "poison-embed": "embed"}


@dataclass
class Worker:
    """A process: what it holds, under which places of its room."""

    name: str
    room: Room
    hands: list[tuple[Place, Claim]] = field(default_factory=list)
    wants_alone: bool = False  # it takes nothing new, so that a suspect gets its turn

    @property
    def lone(self) -> Claim | None:
        return self.hands[0][1] if len(self.hands) == 1 and self.room._lone else None


class Fleet:
    """Workers that take, finish and die, a step at a time; and a model of what the ledger must say of each document."""

    def __init__(self, ledger, seed: int) -> None:
        self.ledger = ledger
        self.chance = random.Random(seed)
        self.now = 0.0
        self.hired = self.kills = 0
        self.workers = [self.hire() for _ in range(4)]
        self.dead: list[tuple[str, int | None]] = []  # token, and who was alone under it
        self.charged: dict[int, int] = {}  # document -> deaths alone since its last progress
        self.killed_by: dict[str, int] = {}  # poison -> workers that it killed

    def hire(self) -> Worker:
        self.hired += 1
        return Worker(f"worker {self.hired}", Room(clock=lambda: self.now))

    def step(self) -> None:
        self.now += 0.01
        at = self.chance.randrange(len(self.workers))
        worker = self.workers[at]
        poisoned = [claim for _, claim in worker.hands if self.poison_of(claim)]
        if poisoned and self.chance.random() < 0.3:
            name = self.poison_of(poisoned[0])
            self.killed_by[name] = self.killed_by.get(name, 0) + 1
            self.bury(at)
        elif worker.hands and (worker.lone or self.chance.random() < 0.5):
            self.finish(worker, self.chance.choice(worker.hands))
        else:
            self.take(worker, self.chance.choice(STAGES))
        if self.chance.random() < 0.4:
            self.expire()

    @staticmethod
    def poison_of(claim: Claim) -> str:
        return next((unit.unique_id for unit in claim.units if POISON.get(unit.unique_id) == claim.stage), "")

    def take(self, worker: Worker, stage: str) -> None:
        with self.ledger.read() as tx:
            good, suspects = due.at(tx, stage)
        if suspects and (worker.wants_alone or not good or self.chance.random() < 0.3):
            place = worker.room.alone(lambda: True, patient=True)
            worker.wants_alone = place is None
            if place:
                self.claim(worker, place, stage, alone=True)
        elif good and not worker.wants_alone:
            place = worker.room.beside(lambda: True)
            if place:
                self.claim(worker, place, stage, alone=False)
        elif not suspects:
            worker.wants_alone = False

    def claim(self, worker: Worker, place: Place, stage: str, *, alone: bool) -> None:
        limit = self.chance.choice((1, 2, 5))  # a good one may be alone in its claim, and is not in its process
        with self.ledger.write() as tx:
            claim = work.claim(tx, stage, worker=worker.name, lease=1e6, limit=limit, alone=alone)
        if claim is None:
            place.leave()
        else:
            worker.hands.append((place, claim))

    def finish(self, worker: Worker, hand: tuple[Place, Claim]) -> None:
        place, claim = hand
        after = (*STAGES, "indexed")[STAGES.index(claim.stage) + 1]
        with self.ledger.write() as tx:
            if not self.poison_of(claim):
                mine = work.held(tx, claim.token)
                for unit in claim.units:
                    if unit.key in mine:
                        work.move(tx, unit, after)
                        self.charged.pop(unit.document_id, None)
            work.give_back(tx, claim.token)  # what is not finished is given back without blame
        worker.hands.remove(hand)
        place.leave()

    def kill_one(self) -> None:
        self.kills += 1
        self.bury(self.chance.randrange(len(self.workers)))

    def bury(self, at: int) -> None:
        """It dies, and another takes its place; its leases end later, each at its own time."""
        gone = self.workers[at]
        alone = gone.lone.units[0].document_id if gone.lone else None
        self.dead += [(claim.token, alone) for _, claim in gone.hands]
        self.workers[at] = self.hire()

    def expire(self) -> None:
        """Some leases of the dead end; what becomes of their units is what the model says."""
        over = [entry for entry in self.dead if self.chance.random() < 0.3]
        if not over:
            return
        with self.ledger.write() as tx:
            tokens = [token for token, _ in over]
            tx.execute(update(units).where(units.c.lease_token.in_(tokens)).values(lease_until=0))
            expired_leases.expire(tx, max_attempts=ATTEMPTS, backoff=0)
        for entry in over:
            self.dead.remove(entry)
            if entry[1] is not None:
                self.charged[entry[1]] = self.charged.get(entry[1], 0) + 1
        with self.ledger.read() as tx:
            rows = tx.execute(select(units.c.document_id, units.c.attempts).where(units.c.attempts > 0)).all()
        assert {row.document_id: row.attempts for row in rows} == self.charged

    def left(self) -> list[str]:
        query = select(documents.c.unique_id).join(units, units.c.document_id == documents.c.id)
        with self.ledger.read() as tx:
            return list(tx.execute(query.where(units.c.stage.in_(STAGES))).scalars())


@pytest.mark.parametrize("seed", range(2))
def test_whoever_dies_innocents_are_indexed_and_poison_ends_in_quarantine(make_pipeline, seed):
    pipeline = make_pipeline()
    texts = {f"d{number:03}": f"text {number}" for number in range(120)} | dict.fromkeys(POISON, "poison")
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": texts}), run=False)
    work_on(pipeline.runtime, "sync")
    fleet = Fleet(pipeline.runtime.ledger, seed)
    for steps in range(1, 20_000):
        fleet.step()
        if steps % 60 == 0:
            fleet.kill_one()
            if not fleet.dead and not fleet.left():
                break
    else:
        pytest.fail(f"after {steps} steps these are not at their end: {fleet.left()}")
    stages = pipeline.stages()
    assert {name: stages.pop(name) for name in POISON} == dict.fromkeys(POISON, "quarantined")
    assert set(stages.values()) == {"indexed"}
    assert fleet.kills > 5
    for name in POISON:
        assert pipeline.unit(name)["attempts"] == ATTEMPTS
        assert ATTEMPTS <= fleet.killed_by[name] <= ATTEMPTS + 1  # once in company, which makes it a suspect


@pytest.mark.parametrize("renews", [True, False])
def test_a_ledger_that_was_away_is_no_death(make_pipeline, renews: bool) -> None:
    """Nobody could renew anything, and nobody ticked. Who lives renews before anything is held against a document."""
    pipeline = make_pipeline()
    ledger = pipeline.runtime.ledger
    documents_ = {"alone": "text 1", "beside": "text 2"}
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": documents_}), run=False)
    work_on(pipeline.runtime, "sync")
    maintenance.tick(pipeline.runtime)
    with ledger.write() as tx:
        tx.execute(update(units).where(units.c.document_id == 1).values(suspect=True))
        lone = work.claim(tx, "chunk", worker="a", lease=60, limit=1, alone=True)
        good = work.claim(tx, "chunk", worker="b", lease=60, limit=1)
        tx.execute(update(units).values(lease_until=1.0))
        tx.execute(update(chores).values(done_at=chores.c.done_at - 600))
    maintenance.tick(pipeline.runtime)
    with ledger.write() as tx:
        held = {claim.token: len(work.held(tx, claim.token)) for claim in (lone, good)}
        assert set(held.values()) == {1}
        if renews:
            for token in (lone.token, good.token):
                assert renewals.renew(tx, token, 60) == Renewal(held=1, prolonged=1)
        else:
            tx.execute(update(units).values(lease_until=1.0))
    maintenance.tick(pipeline.runtime)
    with ledger.read() as tx:
        rows = tx.execute(
            select(units.c.lease_token, units.c.suspect, units.c.attempts).order_by(units.c.attempts)
        ).all()
    if renews:
        assert [(row.lease_token is not None, row.attempts) for row in rows] == [(True, 0)] * 2
    else:
        assert [tuple(row) for row in rows] == [(None, True, 0), (None, True, 1)]


def test_a_second_outage_before_the_next_tick_is_no_death_either(make_pipeline) -> None:
    pipeline = make_pipeline()
    ledger = pipeline.runtime.ledger
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": {"a": "b"}}), run=False)
    work_on(pipeline.runtime, "sync")
    maintenance.tick(pipeline.runtime)
    with ledger.write() as tx:
        living = work.claim(tx, "chunk", worker="a", lease=60, limit=1)
    for _ in range(2):
        with ledger.write() as tx:
            tx.execute(update(units).values(lease_until=1.0))
            tx.execute(update(chores).values(done_at=chores.c.done_at - 600))
        maintenance.tick(pipeline.runtime)
        with ledger.write() as tx:
            assert renewals.renew(tx, living.token, 60) == Renewal(held=1, prolonged=1)


def test_a_tick_that_takes_long_spares_the_dead_once(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that hangs makes every tick as long as if the ledger had been away before it."""
    pipeline = make_pipeline()
    ledger = pipeline.runtime.ledger
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": {"a": "b"}}), run=False)
    work_on(pipeline.runtime, "sync")

    def hang(*_: object, **__: object) -> bool:
        with ledger.write() as tx:
            tx.execute(update(chores).values(done_at=chores.c.done_at - 30))
            tx.execute(update(units).values(lease_until=units.c.lease_until - 30))
        return False

    monkeypatch.setattr(maintenance.vocabulary, "advance", hang)
    with ledger.write() as tx:
        dead = work.claim(tx, "chunk", worker="a", lease=15, limit=1)
    maintenance.tick(pipeline.runtime)  # its lease is over at the end
    for held in (1, 0, 0):
        maintenance.tick(pipeline.runtime)
        with ledger.write() as tx:
            assert len(work.held(tx, dead.token)) == held
