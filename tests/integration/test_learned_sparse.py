"""A collection whose words are weighed by a model in place of BM25, through the whole pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from semantik_pipeline import collections, generations
from semantik_pipeline.configurations import parse_changes
from semantik_pipeline.contracts import EmbeddingMode
from semantik_pipeline.doctor.examination import Patient
from semantik_pipeline.doctor.extensions import in_use, look_at_models
from semantik_pipeline.errors import FingerprintMismatch, PluginError
from semantik_pipeline.generations import building
from semantik_pipeline.ledger.catalog.collections import list_generations
from semantik_pipeline.ledger.tables import chunks
from semantik_pipeline.ledger.tables import generations as table
from semantik_pipeline.models.inventory import inventory
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.stages.vectors import sparse_encoder
from semantik_pipeline.testing.tiny_models import write_tiny_sparse_encoder
from semantik_pipeline.transfer import export, import_collection
from semantik_pipeline.verification import verify
from tests.integration.conftest import FAKE_COLLECTION, Pipeline, texts


@pytest.fixture
def indexed(make_pipeline, tmp_path: Path) -> Pipeline:
    model = write_tiny_sparse_encoder(tmp_path / "tiny")
    pipeline = make_pipeline(plugins={"learned-sparse": {"device": "cpu", "precision": "float32"}})
    folder = texts(
        tmp_path / "notes", one="leases expire", two="search the vector index", three="the queue of a worker"
    )
    done = pipeline.folder(folder, config=FAKE_COLLECTION | {"sparse": {"model": str(model)}})
    assert done["outcome"] == "succeeded", done
    return pipeline


def ask(pipeline: Pipeline, text: str, **more):
    return search(pipeline.runtime, SearchQuery(text=text, rerank=False, **more)).hits


def products(pipeline: Pipeline, text: str) -> dict[str, float]:
    """What the query's vector and that of each chunk's model input give, by brute force."""
    runtime = pipeline.runtime
    with runtime.ledger.read() as tx:
        rows = tx.execute(select(chunks.c.lead, chunks.c.text)).all()
    encoder = sparse_encoder(runtime, runtime.ledger.search_view("default").generation_id)
    (query,) = runtime.host.call(encoder.embed_sparse, [text], mode=EmbeddingMode.QUERY)
    asked = dict(zip(query.indices, query.values, strict=True))
    vectors = runtime.host.call(encoder.embed_sparse, [lead + said for lead, said in rows])
    return {
        said: sum(weight * asked.get(term, 0.0) for term, weight in zip(vector.indices, vector.values, strict=True))
        for (_, said), vector in zip(rows, vectors, strict=True)
    }


def test_its_terms_find_and_no_term_is_computed_twice(indexed: Pipeline, tmp_path: Path) -> None:
    hits = ask(indexed, "leases expire", mode="sparse")
    assert {hit.text: pytest.approx(hit.scores["sparse"], rel=0.01) for hit in hits} == products(
        indexed, "leases expire"
    )
    assert [hit.scores["sparse"] for hit in hits] == sorted((hit.scores["sparse"] for hit in hits), reverse=True)
    assert {hit.text for hit in ask(indexed, "leases expire")} >= {"leases expire", "search the vector index"}
    assert verify(indexed.runtime).clean
    texts(tmp_path / "notes", one="leases expire\n\nsoon")  # another text, and the others as they were
    again = indexed.folder(tmp_path / "notes")
    assert again["outcome"] == "succeeded"
    assert {hit.text for hit in ask(indexed, "leases", mode="sparse")} >= {"search the vector index"}


def newer(pipeline: Pipeline, make_pipeline, **other: str | None) -> Pipeline:
    """Another process, as if other models were installed by now: these of the index's fingerprints are other ones."""
    generation = pipeline.runtime.ledger.search_view("default").generation_id
    prints = {**pipeline.runtime.generation(generation).fingerprints, **other}
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(table).where(table.c.id == generation).values(fingerprints=prints))
    pipeline.runtime.close()
    return make_pipeline(plugins={"learned-sparse": {"device": "cpu", "precision": "float32"}})


def test_a_leg_whose_model_is_another_one_now_is_left_out(indexed: Pipeline, make_pipeline) -> None:
    asked = SearchQuery(text="leases expire", rerank=False)
    words = ask(indexed, "leases expire", mode="sparse")
    again = newer(indexed, make_pipeline, embed="0" * 32)
    found = search(again.runtime, asked)
    assert [line.partition(":")[0] for line in found.warnings] == ["by words alone"]
    assert "The embedding of 'default'" in found.warnings[0]
    assert [hit.text for hit in found.hits] == [hit.text for hit in words]
    with pytest.raises(FingerprintMismatch, match="embedding"):
        ask(again, "leases expire", mode="dense")


def test_a_sparse_model_that_is_another_one_now_leaves_the_dense_leg(
    indexed: Pipeline, make_pipeline, tmp_path: Path
) -> None:
    meaning = ask(indexed, "leases expire", mode="dense")
    indexed.runtime.close()
    write_tiny_sparse_encoder(tmp_path / "tiny", seed=7)
    again = make_pipeline(plugins={"learned-sparse": {"device": "cpu", "precision": "float32"}})
    found = search(again.runtime, SearchQuery(text="leases expire", rerank=False))
    assert [line.partition(":")[0] for line in found.warnings] == ["by meaning alone"]
    assert "The sparse model of 'default'" in found.warnings[0]
    assert [hit.text for hit in found.hits] == [hit.text for hit in meaning]
    assert ask(again, "leases expire", mode="dense") == meaning
    with pytest.raises(FingerprintMismatch, match="sparse model"):
        ask(again, "leases expire", mode="sparse")


@pytest.mark.parametrize("other", [{"embed": "0" * 32, "sparse": "0" * 32}, {"embed": "0" * 32, "sparse": None}])
def test_a_search_for_which_no_leg_is_left_is_refused(indexed: Pipeline, make_pipeline, other: dict[str, Any]) -> None:
    """Both models are other ones, or the index is from before each had a fingerprint, and nobody knows which is."""
    again = newer(indexed, make_pipeline, **other)
    for mode in ("hybrid", "dense", "sparse"):
        with pytest.raises(FingerprintMismatch, match="would give other vectors here"):
            ask(again, "leases expire", mode=mode)


def test_an_index_from_before_each_model_had_a_fingerprint_is_searched_by_both(
    indexed: Pipeline, make_pipeline
) -> None:
    before = ask(indexed, "leases expire")
    assert ask(newer(indexed, make_pipeline, sparse=None), "leases expire") == before


def test_a_query_is_read_by_its_model_once(indexed: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """However deep the search goes, and in a step of its own."""
    encoder = sparse_encoder(indexed.runtime, indexed.runtime.ledger.search_view("default").generation_id)
    passes: list[list[str]] = []
    read = encoder.embed_sparse

    def counted(texts: list[str], **how: Any) -> Any:
        passes.append(list(texts))
        return read(texts, **how)

    monkeypatch.setattr(encoder, "embed_sparse", counted)
    for mode in ("sparse", "hybrid", "sparse"):
        asked = SearchQuery(text="a queue", mode=mode, rerank=False, limit=1, postprocessors=("group",))
        assert "embed" in search(indexed.runtime, asked).timings_ms
    assert passes == [["a queue"]]


def test_one_goes_over_to_bm25_and_back_by_a_reindex(indexed: Pipeline) -> None:
    model = collections.show(indexed.runtime, "default")["config"]["sparse"]["model"]
    for change, learned in (("sparse.model=null", False), (f"sparse.model={model}", True)):
        operation = generations.reindex(indexed.runtime, "default", parse_changes([change]))
        for _ in range(50):
            building.advance(indexed.runtime, seconds=5)
            indexed.run()
            if indexed.result(operation)["outcome"] is not None:
                break
        assert indexed.result(operation)["outcome"] == "succeeded", indexed.result(operation)
        found = {hit.text for hit in ask(indexed, "leases", mode="sparse")}
        assert (found == {"leases expire"}) is not learned  # BM25 finds the word, the model what resembles it
        assert collections.show(indexed.runtime, "default")["outdated"] == []


def test_an_export_leaves_its_vectors_to_be_made_anew(indexed: Pipeline, tmp_path: Path) -> None:
    export(indexed.runtime, "default", tmp_path / "saved")
    import_collection(indexed.runtime, tmp_path / "saved", name="copy")
    indexed.run()
    before, after = (ask(indexed, "leases", mode="sparse", collection=name) for name in ("default", "copy"))
    assert [hit.text for hit in after] == [hit.text for hit in before]


def test_a_model_that_is_not_there_is_refused_before_anything_is_made(indexed: Pipeline) -> None:
    with pytest.raises(PluginError, match="no-such-model"):
        generations.reindex(indexed.runtime, "default", parse_changes(["sparse.model=no-such-model"]))


def test_its_model_is_among_those_that_are_used(indexed: Pipeline, tmp_path: Path) -> None:
    used = {one.name: one for one in inventory(indexed.runtime) if "collection default" in one.used_by}
    assert set(used) == {"fake", str(tmp_path / "tiny")}
    assert used[str(tmp_path / "tiny")].files.path == tmp_path / "tiny"


def test_new_collections_use_the_one_that_the_settings_name(make_pipeline, tmp_path: Path) -> None:
    model = str(write_tiny_sparse_encoder(tmp_path / "tiny"))
    pipeline = make_pipeline(collection=FAKE_COLLECTION | {"sparse": {"model": model}})
    assert model in {one.name for one in inventory(pipeline.runtime) if "new collections" in one.used_by}


def test_the_doctor_looks_for_its_model(indexed: Pipeline, tmp_path: Path) -> None:
    with indexed.runtime.ledger.read() as tx:
        patient = Patient(runtime=indexed.runtime, generations=list_generations(tx))
    assert "learned-sparse" in in_use(patient)
    states = {one.check: one.status for one in look_at_models(patient)}
    assert states == {"model of 'default'": "ok", "sparse model of 'default'": "ok"}
    (tmp_path / "tiny").rename(tmp_path / "away")
    assert {one.check: one.status for one in look_at_models(patient)}["sparse model of 'default'"] == "broken"
