"""Ledger against store in slices: what is found does not depend on their size, and what is kept in mind does."""

from __future__ import annotations

import random

from semantik_pipeline import verification
from semantik_pipeline.documents import Point
from semantik_pipeline.ledger.generations import comparison
from semantik_pipeline.operations import SourceRequest
from tests.integration.test_pipeline_races import paragraphs

DOCUMENTS = 12


def damage(pipe, seed: int) -> None:
    """Of the first documents a point of each is lost or old; points of documents before, between and behind all others,
    and of none, are added."""
    import numpy as np

    chance, store = random.Random(seed), pipe.runtime.store
    generation = pipe.runtime.ledger.search_view("default")
    points, _ = store.scroll(generation.index)
    owned = {point.id: point.payload["document_id"] for point in points}
    by_document = {document: [one for one, its in owned.items() if its == document] for document in {*owned.values()}}
    lost, old = chance.sample(sorted(by_document), 2)
    store.delete(generation.index, ids=by_document[lost][:2])
    store.set_payload(generation.index, by_document[old][:1], {"signature": "another"})
    vector = np.ones(generation.dimension, dtype=np.float32)
    strays = [{"document_id": one, "epoch": 1, "signature": ""} for one in (-5, 7, 10**9)] + [{"signature": ""}]
    ids = [f"00000000-0000-4000-8000-{place:012}" for place in range(len(strays))]
    made = zip(ids, strays, strict=True)
    store.insert(generation.index, [Point(id=one, vector=vector, sparse_text="x", payload=its) for one, its in made])


def test_a_slice_ends_with_so_many_points_however_few_documents_have_them(make_pipeline, monkeypatch) -> None:
    monkeypatch.setattr(comparison, "CHUNKS", 5)
    pipe = make_pipeline()
    contents = {f"d{number:02}": paragraphs(f"w{number}x", 3) for number in range(DOCUMENTS)}
    pipe.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": contents}))
    points = len(pipe.runtime.store.scroll(pipe.runtime.ledger.search_view("default").index, limit=1000)[0])
    most = points // DOCUMENTS
    parts, begin = [], None
    while begin is not None or not parts:
        report, begin = verification.verify_part(pipe.runtime, "default", begin=begin, seconds=0)
        parts.append(report.to_dict())
    assert all(part["points_found"] <= 5 + most for part in parts)
    assert (sum(part["documents"] for part in parts), sum(part["points_found"] for part in parts)) == (
        DOCUMENTS,
        points,
    )
    assert all(not part[name] for part in parts for name in ("missing", "orphaned", "stale", "pending"))


def test_what_is_found_is_the_same_whatever_the_slices(make_pipeline, monkeypatch) -> None:
    pipe = make_pipeline()
    contents = {f"d{number:02}": paragraphs(f"w{number}x", 3) for number in range(DOCUMENTS)}
    pipe.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": contents}))
    assert verification.verify(pipe.runtime).clean
    known, counts = [], comparison.point_counts
    monkeypatch.setattr(
        comparison, "point_counts", lambda *args, **named: [known.append(found := counts(*args, **named)), found][1]
    )
    for size in (1, 3, 5, 12, 13, 2000):
        monkeypatch.setattr(comparison, "SLICE", size)
        damage(pipe, seed=size)
        known.clear()
        report = verification.verify(pipe.runtime)
        told = report.to_dict()
        assert (told["documents"], told["missing"], told["stale"], told["orphaned"]) == (DOCUMENTS, 2, 1, 4), size
        assert told["pending"] == 0
        assert len(report.examples) == 2
        assert max(map(len, known)) <= size
        verification.repair(pipe.runtime, report)
        pipe.run()
        assert verification.verify(pipe.runtime).clean, size


def test_an_orphan_that_was_written_again_since_it_was_seen_stays(make_pipeline) -> None:
    import numpy as np

    pipe = make_pipeline()
    pipe.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": {"d": "a text"}}))
    generation, store = pipe.runtime.ledger.search_view("default"), pipe.runtime.store
    vector = np.ones(generation.dimension, dtype=np.float32)
    ids = [f"00000000-0000-4000-8000-{place:012}" for place in range(3)]
    payloads: list[dict[str, object]] = [{"document_id": 10**9, "epoch": 1}, {"document_id": 10**9, "epoch": 2}, {}]

    def plant(which: list[int], **more: int) -> None:
        made = [Point(id=ids[at], vector=vector, sparse_text="x", payload=payloads[at] | more) for at in which]
        store.insert(generation.index, made)

    plant([0, 1, 2])
    report = verification.verify(pipe.runtime)
    assert report.to_dict()["orphaned"] == 3
    plant([0], epoch=2)
    verification.repair(pipe.runtime, report)
    left = {point.id for point in store.scroll(generation.index, limit=100)[0]} & {*ids}
    assert left == {ids[0]}
