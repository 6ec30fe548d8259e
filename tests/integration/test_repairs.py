"""What repairs write again, in every collection and generation and in quarantine, and when their operations end."""

from __future__ import annotations

import json

from sqlalchemy import select, update

from semantik_pipeline import generations, maintenance, operations, verification
from semantik_pipeline.generations import building
from semantik_pipeline.ledger.catalog import collections
from semantik_pipeline.ledger.generations import comparison
from semantik_pipeline.ledger.ingestion import revisions
from semantik_pipeline.ledger.operations import lifecycle as ledger
from semantik_pipeline.ledger.queue.work import claim
from semantik_pipeline.ledger.tables import generations as table
from semantik_pipeline.ledger.tables import work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.push import Given, push
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.verification import repair, verify

LEDGERS = ("sqlite", "postgres")

NAMES = [f"d{number}" for number in range(5)]


def source(**contents: str) -> SourceRequest:
    return SourceRequest(connector="fake-connector", name="fake", config={"documents": contents})


def several(names: list[str] = NAMES) -> SourceRequest:
    return source(**{name: f"{name} speaks of leases." for name in names})


def wipe(pipe, index: str) -> int:
    """Let an index lose all of its points; returns how many."""
    points, _ = pipe.runtime.store.scroll(index, fields=[], limit=1000)
    pipe.runtime.store.delete(index, ids=[point.id for point in points])
    return len(points)


def outcomes(pipe, begun: list[int]) -> list[str | None]:
    return [pipe.result(operation)["outcome"] for operation in begun]


def test_each_collection_is_mended_by_an_operation_of_its_own(make_pipeline) -> None:
    pipe = make_pipeline()
    for name in ("one", "two"):
        pipe.index(several(), collection=name)
        wipe(pipe, pipe.runtime.ledger.search_view(name).index)
    begun = repair(pipe.runtime, verify(pipe.runtime))
    assert len(begun) == 2
    maintenance.settle(pipe.runtime)
    assert outcomes(pipe, begun) == [None, None], "each has its own documents to wait for"
    pipe.run()
    maintenance.settle(pipe.runtime)
    assert outcomes(pipe, begun) == ["succeeded", "succeeded"]
    assert verify(pipe.runtime).clean


def test_a_repair_of_an_index_that_is_kept_is_waited_for(make_pipeline) -> None:
    pipe = make_pipeline()
    pipe.index(several())
    before = pipe.runtime.ledger.search_view("default").index
    build = generations.reindex(pipe.runtime, "default", {"embedding.dimension": 32})
    while pipe.result(build)["outcome"] is None:
        building.advance(pipe.runtime, seconds=5)
        pipe.run()
    wipe(pipe, before)
    report = verify(pipe.runtime)
    assert report.to_dict()["missing"] == len(NAMES)
    (operation,) = repair(pipe.runtime, report)
    maintenance.settle(pipe.runtime)
    assert outcomes(pipe, [operation]) == [None]
    assert operations.look(pipe.runtime, operation).stages == {"upsert": len(NAMES)}
    pipe.run()
    maintenance.settle(pipe.runtime)
    assert outcomes(pipe, [operation]) == ["succeeded"]
    assert verify(pipe.runtime).clean


def test_documents_go_in_parts_and_an_operation_that_ended_before_the_last_is_followed_by_another(
    make_pipeline, monkeypatch
) -> None:
    monkeypatch.setattr(verification, "PAGE", 2)
    pipe = make_pipeline()
    pipe.index(several())
    wipe(pipe, pipe.runtime.ledger.search_view("default").index)
    report = verify(pipe.runtime)
    rung = []

    def ring(stage: str) -> None:
        rung.append(stage)
        if rung == ["upsert"]:  # somebody hears the first bell at once, and is through before the next part comes
            work_on(pipe.runtime, "upsert")

    with monkeypatch.context() as patched:
        patched.setattr(pipe.runtime, "ring", ring)
        begun = repair(pipe.runtime, report)
    pipe.run()
    maintenance.settle(pipe.runtime)
    assert outcomes(pipe, begun) == ["succeeded"] * 2  # the second one has the other two parts
    assert verify(pipe.runtime).clean


def test_what_was_indexed_of_a_document_in_quarantine_is_written_again(make_pipeline) -> None:
    pipe = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON", "fail_as": "permanent"}})
    pipe.index(source(good="Another one.", bad="It speaks of zebras."))
    pipe.index(source(good="Another one.", bad="POISON now."))
    before = pipe.unit("bad")
    assert before["stage"] == "quarantined"
    index = pipe.runtime.ledger.search_view("default").index
    assert wipe(pipe, index) == 2
    report = verify(pipe.runtime)
    assert report.to_dict()["missing"] == 2

    def wait(operation: int) -> str | None:
        pipe.run()
        return pipe.result(operation)["outcome"]

    assert verification.lacks_points(pipe.runtime, "default", wrote=True)
    assert verification.restore(pipe.runtime, "default", wait) == 2
    assert verify(pipe.runtime).clean
    assert not verification.lacks_points(pipe.runtime, "default", wrote=True)
    hits = search(pipe.runtime, SearchQuery(text="zebras", rerank=False)).hits
    assert "zebras" in hits[0].text
    after = pipe.unit("bad")
    kept = ("stage", "error", "attempts", "chunks", "chunks_epoch", "embedded", "revision", "indexed_chunks_epoch")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def test_a_document_whose_points_were_written_again_in_quarantine_gets_well(make_pipeline) -> None:
    pipe = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON", "fail_as": "permanent"}})
    pipe.index(source(bad="It speaks of zebras."))
    pipe.index(source(bad="POISON now."))
    wipe(pipe, pipe.runtime.ledger.search_view("default").index)
    repair(pipe.runtime, verify(pipe.runtime))
    pipe.index(source(bad="It speaks of okapis."))  # before the repair is through
    assert pipe.unit("bad")["stage"] == "indexed"
    assert verify(pipe.runtime).clean
    assert [hit.text for hit in search(pipe.runtime, SearchQuery(text="okapis", rerank=False)).hits] == [
        "It speaks of okapis."
    ]


def test_any_number_of_documents_can_be_named(make_pipeline) -> None:
    """SQLite takes 32,766 parameters in a statement."""
    pipe = make_pipeline()
    pipe.index(several())
    with pipe.runtime.ledger.read() as tx:
        ids = list(tx.execute(select(work.c.document_id)).scalars())
        found = collections.get_collection(tx, "default")
        generation = tx.execute(select(table.c.id)).scalar_one()
    named = [*ids, *range(10**6, 10**6 + 40_000)]
    with pipe.runtime.ledger.write() as tx:
        again = ledger.begin(tx, found.id, "repair")
        assert comparison.upsert_again(tx, generation, named, operation_id=again) == len(ids)
        tx.execute(update(work).values(stage="quarantined", error={"message": "x"}))
        revisions.retry_documents(tx, named, operation_id=again, lane=1)
        revisions.drop_documents(tx, named, operation_id=again, lane=1)
    pipe.run()
    assert set(pipe.stages().values()) <= {"deleted"}


def test_a_units_progress_says_what_it_was_in_quarantine_with(make_pipeline) -> None:
    """Repaired twice, the second time before the first is through: nothing of it is lost."""
    pipe = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON", "fail_as": "permanent"}})
    pipe.index(source(bad="It speaks of zebras."))
    pipe.index(source(bad="POISON now."))
    before = pipe.unit("bad")["error"]
    wipe(pipe, pipe.runtime.ledger.search_view("default").index)
    report = verify(pipe.runtime)
    repair(pipe.runtime, report)
    with pipe.runtime.ledger.write() as tx:  # as if the store had failed too often
        tx.execute(update(work).values(stage="quarantined", error={"message": "the store is full"}))
    repair(pipe.runtime, report)
    pipe.run()
    assert json.dumps(pipe.unit("bad")["error"]) == json.dumps(before)


def test_a_repair_is_charged_to_its_source(make_pipeline) -> None:
    """At its old turns what is written again would go before whatever arrives later."""
    pipe = make_pipeline()
    pipe.index(several([f"d{number:02}" for number in range(50)]))
    wipe(pipe, pipe.runtime.ledger.search_view("default").index)
    push(pipe.runtime, [Given(unique_id="mine", content="a word")], collection="default", source="other")
    pipe.run("chunk", "extract", "embed")
    repair(pipe.runtime, verify(pipe.runtime))
    with pipe.runtime.ledger.write() as tx:
        claimed = claim(tx, "upsert", worker="me", lease=60, limit=10)
    assert "mine" in {unit.unique_id for unit in claimed.units}
