"""How a collection is searched goes with its export, as far as it can be done where it is imported."""

from __future__ import annotations

from pathlib import Path

from semantik_pipeline import collections
from semantik_pipeline.configurations import parse_changes
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.transfer import export, import_collection
from tests.integration.conftest import FAKE_COLLECTION, texts

OWN = ["search.dense_weight=0.25", "search.fusion=dbsf", 'search.rerankers=["fake-reranker"]']


def test_a_reranker_that_is_missing_here_is_left_out_and_named(make_pipeline, tmp_path: Path) -> None:
    there = make_pipeline(folder="there")
    collections.create(there.runtime, "default", config=FAKE_COLLECTION, changes=parse_changes(OWN))
    there.folder(texts(tmp_path / "notes", one="leases expire", two="the queue of a worker"))
    export(there.runtime, "default", tmp_path / "saved")
    there.runtime.close()
    here = make_pipeline(folder="here", disabled=("fake-reranker",))
    told = import_collection(here.runtime, tmp_path / "saved")
    here.run()
    assert [line for line in told["warnings"] if "fake-reranker" in line] == [
        "the reranker fake-reranker is not loaded here; searches go without it"
    ]
    own = collections.show(here.runtime, "default")["config"]["search"]
    assert {name: value for name, value in own.items() if value} == {"dense_weight": 0.25, "fusion": "dbsf"}
    assert search(here.runtime, SearchQuery(text="leases", rerank=False)).hits
