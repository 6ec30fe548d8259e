"""Half of a revision that went into quarantine while it was written does not stay in the store, whoever dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from semantik_pipeline import maintenance
from semantik_pipeline.errors import PermanentError, ServiceUnavailable
from semantik_pipeline.ledger import work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.stages import upsert
from semantik_pipeline.verification import verify

LEDGERS = ("sqlite", "postgres")

SAME = " ".join(f"same{number}" for number in range(30))


def paragraphs(name: str) -> str:
    """One that every revision has, and five of its own; two go in one batch."""
    return "\n\n".join([SAME, *(" ".join(f"{name}{part}x{number}" for number in range(30)) for part in range(5))])


def index(pipeline, text: str, *, run: bool = True) -> None:
    config = {"documents": {"doc": text}}
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
    pipeline = make_pipeline(upsert={"batch_points": 2}, work={"slice": 600.0})
    monkeypatch.setattr(upsert, "withdraw", lambda runtime, units: None)  # here it dies
    half_written(pipeline)
    assert texts(pipeline) > FIRST
    maintenance.tick(pipeline.runtime)
    assert texts(pipeline) == FIRST
    assert not pipeline.unit("doc")["reconcile"], "once"
    assert verify(pipeline.runtime).to_dict()["orphaned"] == 0


def test_a_store_that_is_away_at_that_moment_is_asked_again(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline(upsert={"batch_points": 2}, work={"slice": 600.0})

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
    pipeline = make_pipeline(upsert={"batch_points": 2}, work={"slice": 600.0, "max_attempts": 1})
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
    pipeline = make_pipeline(upsert={"batch_points": 2}, work={"slice": 600.0})
    monkeypatch.setattr(upsert, "withdraw", lambda runtime, units: None)
    half_written(pipeline)
    index(pipeline, paragraphs("third"))
    maintenance.tick(pipeline.runtime)
    pipeline.run()
    assert texts(pipeline) == {"same0", *(f"third{part}x0" for part in range(5))}
    assert verify(pipeline.runtime).clean
