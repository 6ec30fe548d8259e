"""Half of a revision that went into quarantine while it was written does not stay in the store, whoever dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from semantik_pipeline import maintenance
from semantik_pipeline.errors import PermanentError, ServiceFailing, ServiceUnavailable
from semantik_pipeline.ledger.documents import content
from semantik_pipeline.ledger.queue import work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.stages import upsert
from semantik_pipeline.verification import verify

LEDGERS = ("sqlite", "postgres")

SAME = " ".join(f"same{number}" for number in range(30))


def paragraphs(name: str) -> str:
    """One that every revision has, and five of its own; two go in one batch."""
    return "\n\n".join([SAME, *(" ".join(f"{name}{part}x{number}" for number in range(30)) for part in range(5))])


def index(pipeline, text: str, *, run: bool = True, **others: str) -> None:
    config = {"documents": {"doc": text, **others}}
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config=config), run=run)


def texts(pipeline) -> set[str]:
    """The first words of what the store has."""
    runtime = pipeline.runtime
    [generation] = runtime.live_generations()
    found, _ = runtime.host.call(runtime.store.scroll, runtime.index(runtime.generation(generation)), fields=["text"])
    return {point.payload["text"].partition(" ")[0] for point in found}


@contextmanager
def refused_after(pipeline, batches: int) -> Iterator[None]:
    """The store refuses what comes after so many batches."""
    store, left = pipeline.runtime.store, [batches]
    insert = store.insert

    def some(*given: Any, **options: Any) -> None:
        if not left[0]:
            raise PermanentError("The store refuses this.")
        left[0] -= 1
        insert(*given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "insert", some)
        yield


def second_on_its_way(pipeline) -> None:
    """The first revision is indexed, the second one comes to its upsert."""
    index(pipeline, paragraphs("first"))
    index(pipeline, paragraphs("second"), run=False)
    pipeline.run("sync", "chunk", "embed")


def half_written(pipeline) -> None:
    """The second revision is in quarantine, with some of its points in the store."""
    second_on_its_way(pipeline)
    with refused_after(pipeline, 2):
        work_on(pipeline.runtime, "upsert")
    assert pipeline.unit("doc")["stage"] == "quarantined"


FIRST = {"same0", *(f"first{part}x0" for part in range(5))}


def test_a_worker_that_dies_in_between_is_made_up_for(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline(upsert={"batch_size": 2}, work={"time_slice": 600.0})
    monkeypatch.setattr(upsert, "withdraw", lambda runtime, units: None)  # here it dies
    half_written(pipeline)
    assert texts(pipeline) > FIRST
    maintenance.tick(pipeline.runtime)
    assert texts(pipeline) == FIRST
    assert not pipeline.unit("doc")["reconcile"], "once"
    assert verify(pipeline.runtime).to_dict()["orphaned"] == 0


def test_a_store_that_is_away_at_that_moment_is_asked_again(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline(upsert={"batch_size": 2}, work={"time_slice": 600.0})

    def away(*_: Any, **__: Any) -> None:
        raise ServiceUnavailable("The store is away.")

    second_on_its_way(pipeline)
    with monkeypatch.context() as context, refused_after(pipeline, 2):
        context.setattr(pipeline.runtime.store, "delete", away)
        work_on(pipeline.runtime, "upsert")
        assert pipeline.unit("doc")["stage"] == "quarantined"
        maintenance.tick(pipeline.runtime)
        assert texts(pipeline) > FIRST
    maintenance.tick(pipeline.runtime)
    assert texts(pipeline) == FIRST


def test_what_a_worker_that_died_alone_had_written_goes_too(make_pipeline) -> None:
    pipeline = make_pipeline(upsert={"batch_size": 2}, work={"time_slice": 600.0, "max_attempts": 1})
    second_on_its_way(pipeline)
    with refused_after(pipeline, 2), pytest.MonkeyPatch.context() as patch:
        patch.setattr(upsert, "fail", lambda *_: [])  # it dies with its lease
        patch.setattr(work, "give_back", lambda *_: set())
        with pipeline.runtime.ledger.write() as tx:
            work.change(
                tx, work.claim(tx, "upsert", worker="w", lease=60, limit=1).units[0], suspect=True, lease_token=None
            )
        work_on(pipeline.runtime, "upsert")
    assert texts(pipeline) > FIRST
    maintenance.tick(pipeline.runtime, alone=True)
    assert pipeline.unit("doc")["stage"] == "quarantined"
    assert texts(pipeline) == FIRST


def test_a_newer_revision_is_left_alone(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline(upsert={"batch_size": 2}, work={"time_slice": 600.0})
    monkeypatch.setattr(upsert, "withdraw", lambda runtime, units: None)
    half_written(pipeline)
    index(pipeline, paragraphs("third"))
    maintenance.tick(pipeline.runtime)
    pipeline.run()
    assert texts(pipeline) == {"same0", *(f"third{part}x0" for part in range(5))}
    assert verify(pipeline.runtime).clean


def both_half_written(pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two documents are in quarantine, each with some points of its second revision in the store."""
    index(pipeline, paragraphs("first"), other=paragraphs("before"))
    index(pipeline, paragraphs("second"), run=False, other=paragraphs("behind"))
    pipeline.run("sync", "chunk", "embed")
    with monkeypatch.context() as context:
        context.setattr(upsert, "withdraw", lambda runtime, units: None)
        while {pipeline.unit(name)["stage"] for name in ("doc", "other")} != {"quarantined"}:
            pipeline.hurry()
            with refused_after(pipeline, 2):
                work_on(pipeline.runtime, "upsert")


@pytest.mark.parametrize("error", [ServiceFailing("The store failed (500)."), ValueError("nobody expected this")])
def test_one_that_can_t_be_withdrawn_keeps_no_other(make_pipeline, monkeypatch, error: Exception) -> None:
    pipeline = make_pipeline(upsert={"batch_size": 2}, work={"time_slice": 600.0})
    both_half_written(pipeline, monkeypatch)
    first, delete = min(pipeline.unit(name)["document_id"] for name in ("doc", "other")), pipeline.runtime.store.delete

    def some(name: str, **options: Any) -> None:
        if f"'value': {first}}}" in str(options):
            raise error
        delete(name, **options)

    with monkeypatch.context() as context:
        context.setattr(pipeline.runtime.store, "delete", some)
        maintenance.tick(pipeline.runtime)
    owed = {name for name in ("doc", "other") if pipeline.unit(name)["reconcile"]}
    assert [pipeline.unit(name)["document_id"] for name in owed] == [first]
    maintenance.tick(pipeline.runtime)
    assert texts(pipeline) == FIRST | {f"before{part}x0" for part in range(5)}


@pytest.mark.parametrize("error", [PermanentError("The store refuses that too."), ValueError("nobody expected this")])
def test_a_store_that_refuses_the_withdrawal_does_not_end_the_slice(make_pipeline, error: Exception) -> None:
    pipeline = make_pipeline(upsert={"batch_size": 2}, work={"time_slice": 600.0})
    second_on_its_way(pipeline)

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    with refused_after(pipeline, 2), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.runtime.store, "delete", refuse)
        work_on(pipeline.runtime, "upsert")
    assert pipeline.unit("doc")["stage"] == "quarantined"
    maintenance.tick(pipeline.runtime)
    assert texts(pipeline) == FIRST


def test_a_ledger_that_can_t_note_a_failure_is_not_passed_over(make_pipeline, monkeypatch) -> None:
    pipeline = make_pipeline(work={"time_slice": 0.0001})  # one claim
    second_on_its_way(pipeline)

    def away(*_: Any) -> None:
        raise ServiceUnavailable("The ledger does not answer.")

    monkeypatch.setattr(upsert, "fail", away)
    with refused_after(pipeline, 0), pytest.raises(ServiceUnavailable):
        work_on(pipeline.runtime, "upsert")


def test_half_of_it_goes_wherever_it_came_into_quarantine(make_pipeline, monkeypatch) -> None:
    """Half written, it is sent back to an earlier stage, which fails on it."""
    pipeline = make_pipeline(upsert={"batch_size": 2}, work={"time_slice": 600.0})
    second_on_its_way(pipeline)
    whole = content.chunk_rows

    def lost(*given: Any, start: int = 0, **options: Any) -> list:
        return [] if start >= 4 else whole(*given, start=start, **options)

    with monkeypatch.context() as context:
        context.setattr(content, "chunk_rows", lost)
        work_on(pipeline.runtime, "upsert")
    assert (pipeline.unit("doc")["stage"], texts(pipeline) > FIRST) == ("chunk", True)
    with pipeline.runtime.ledger.write() as tx:
        [unit] = work.claim(tx, "chunk", worker="w", lease=60, limit=1).units
        work.quarantine(tx, unit, {"type": "UnsupportedContent", "message": "", "traceback": None})
    maintenance.tick(pipeline.runtime)
    assert texts(pipeline) == FIRST
