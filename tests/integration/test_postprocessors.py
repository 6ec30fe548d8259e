"""Postprocessors over real indexes: the embedded engine and a Qdrant server's double, and the ledger's chunks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semantik_pipeline.documents import SearchHit
from semantik_pipeline.errors import PluginConfigError, PluginNotFoundError
from semantik_pipeline.ledger.documents import neighbours
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.search import SearchAnswer, SearchQuery, search
from semantik_pipeline.testing.fake_models import hashed_words
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from tests.integration.conftest import FAKE_COLLECTION, Pipeline
from workers import remote_search

#: Each paragraph is a chunk: 30 words of at most 40.
PARAGRAPHS = [" ".join([f"wine{number}", f"cork{number}", *["barrel"] * 28]) for number in range(8)]
LONG = "\n\n".join(PARAGRAPHS)
TEXTS = {"long": LONG, "acre": "acre of wine", "cork": "cork of wine", "twin": "cork of wine", "other": "owls hunt"}


@pytest.fixture(scope="module")
def double() -> Iterator[QdrantDouble]:
    double = QdrantDouble().start()
    yield double
    double.stop()


@pytest.fixture(params=["edge", "qdrant"])
def pipeline(request: pytest.FixtureRequest, make_pipeline: Callable[..., Pipeline]) -> Pipeline:
    store: dict[str, Any] = {}
    if request.param == "qdrant":
        store = {"qdrant": {"url": request.getfixturevalue("double").url}}
    return make_pipeline(**store, search={"postprocess_deadline": 30})


def index(pipeline: Pipeline, texts: dict[str, str] = TEXTS, *, run: bool = True, **config: Any) -> None:
    source = SourceRequest(connector="fake-connector", name="fake", config={"documents": texts, **config})
    pipeline.index(source, config=FAKE_COLLECTION, run=run)


def ask(pipeline: Pipeline, *names: Any, text: str = "wine", **options: Any) -> SearchAnswer:
    options.setdefault("limit", 20)
    query = SearchQuery(text=text, rerank=False, postprocessors=names or None, **options)
    answer = search(pipeline.runtime, query)
    assert answer.warnings == []
    return answer


def option(plugin: str, **options: Any) -> dict[str, Any]:
    return {"plugin": plugin, "options": options}


# -- on both stores --------------------------------------------------------------------------------------------------


def test_the_default_marks_words(pipeline: Pipeline) -> None:
    index(pipeline)
    best = ask(pipeline, text="the wines of an acre").hits[0]
    assert best.document == "acre"
    assert [(best.text[one.start : one.end], one.term) for one in best.highlights] == [
        ("acre", "acre"),
        ("wine", "wines"),
    ]


def test_vectors_that_the_store_gives_are_those_of_the_texts(pipeline: Pipeline) -> None:
    index(pipeline)
    plain = ask(pipeline).hits
    diverse = ask(pipeline, option("diversity", **{"lambda": 0.4})).hits
    assert sorted(hit.text for hit in diverse) == sorted(hit.text for hit in plain)
    places = {(hit.document, hit.start): place for place, hit in enumerate(plain)}
    vectors = np.array([hashed_words(hit.text, 64) for hit in plain])
    taken: list[int] = []
    for hit in diverse:
        worth = {
            place: 0.4 * one.score - 0.6 * max((float(vectors[place] @ vectors[other]) for other in taken), default=0.0)
            for place, one in enumerate(plain)
            if place not in taken
        }
        mine = places[hit.document, hit.start]
        assert worth[mine] == pytest.approx(max(worth.values()), abs=1e-3)
        taken.append(mine)
    assert taken != sorted(taken)


def test_pages_of_groups(pipeline: Pipeline) -> None:
    index(pipeline)
    whole = ask(pipeline, option("group", k=2)).hits
    assert sorted(hit.document for hit in whole) == sorted(TEXTS)
    [long] = [hit for hit in whole if hit.document == "long"]
    assert [hit.document for hit in long.grouped_hits] == ["long"]
    pages = [ask(pipeline, option("group", k=2), limit=2, offset=at).hits for at in (0, 2, 4)]
    assert [(hit.rank, hit.document) for page in pages for hit in page] == [(hit.rank, hit.document) for hit in whole]


def test_the_same_text_in_two_documents_is_one_hit(pipeline: Pipeline) -> None:
    index(pipeline)
    hits = {hit.document: hit for hit in ask(pipeline, "dedupe").hits}
    assert len({"cork", "twin"} & set(hits)) == 1
    [hit] = [hits[name] for name in ("cork", "twin") if name in hits]
    assert hit.duplicates == ["twin" if hit.document == "cork" else "cork"]


# -- neighbours ------------------------------------------------------------------------------------------------------


def test_neighbours_read_on_as_the_document_does(pipeline: Pipeline) -> None:
    index(pipeline)
    hit = ask(pipeline, option("neighbours", before=1, after=2), text="cork4", limit=1).hits[0]
    assert hit.text.strip() == PARAGRAPHS[4]
    assert [one.text.strip() for one in (*hit.context_before, *hit.context_after)] == [
        PARAGRAPHS[3],
        PARAGRAPHS[5],
        PARAGRAPHS[6],
    ]
    assert all(LONG[one.start : one.end] == one.text for one in (*hit.context_before, *hit.context_after))
    first = ask(pipeline, option("neighbours", before=3, after=0), text="cork0", limit=1).hits[0]
    assert (first.context_before, first.context_after) == ([], [])


def test_neighbours_are_of_the_revision_that_is_shown(pipeline: Pipeline) -> None:
    index(pipeline)
    changed = {**TEXTS, "long": LONG.replace("barrel", "cask")}
    index(pipeline, changed, run=False)
    pipeline.run("sync", "chunk", "extract", "embed")
    hit = ask(pipeline, "neighbours", text="cork4", limit=1).hits[0]
    assert "barrel" in hit.text
    assert [one.text.strip() for one in (*hit.context_before, *hit.context_after)] == [PARAGRAPHS[3], PARAGRAPHS[5]]
    pipeline.run()
    hit = ask(pipeline, "neighbours", text="cork4", limit=1).hits[0]
    assert "cask" in hit.text
    assert (
        hit.context_before
        and hit.context_after
        and all("cask" in one.text for one in (*hit.context_before, *hit.context_after))
    )


@pytest.mark.parametrize("ledger", ["sqlite", "postgres"], indirect=True)
def test_what_was_closed_meanwhile_has_no_neighbours(make_pipeline: Callable[..., Pipeline]) -> None:
    """The hit was found; before its neighbours are asked for the document is closed, or deleted."""
    pipeline = make_pipeline()
    index(pipeline, principals={"long": ["anna"]})
    unit = pipeline.unit("long")
    with pipeline.runtime.ledger.read() as tx:
        rows = tx.exec_driver_sql(
            f"SELECT point_id, ordinal FROM chunks WHERE document_id = {unit['document_id']}"
        ).all()
    places = [
        neighbours.Place(document_id=unit["document_id"], point_id=row[0], ordinal=row[1])
        for row in sorted(rows, key=lambda row: row[1])
    ]

    def around(principals: list[str] | None) -> list[int]:
        with pipeline.runtime.ledger.read() as tx:
            found = neighbours.around(tx, unit["generation_id"], places, before=1, after=1, principals=principals)
        return [len(passages) for passages in found]

    everything = [1, *[2] * (len(places) - 2), 1]
    assert around(None) == around(["anna", "ben"]) == everything
    assert around(["ben"]) == around([]) == [0] * len(places)
    stale = [replace(place, point_id="00000000-0000-0000-0000-000000000000") for place in places]
    with pipeline.runtime.ledger.read() as tx:
        assert not any(neighbours.around(tx, unit["generation_id"], stale, before=1, after=1))
    index(pipeline, {name: text for name, text in TEXTS.items() if name != "long"})
    assert around(None) == [0] * len(places)


# -- nothing leaks ---------------------------------------------------------------------------------------------------

NAMES = st.lists(st.sampled_from(["anna", "ben", "cleo"]), max_size=2, unique=True)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(open_to=st.lists(st.none() | NAMES, min_size=6, max_size=6), caller=NAMES)
def test_nothing_of_a_closed_document_is_shown(
    make_pipeline: Callable[..., Pipeline], open_to: list[list[str] | None], caller: list[str]
) -> None:
    pipeline = make_pipeline(
        folder=f"data-{np.random.default_rng().integers(1 << 40)}", search={"postprocess_deadline": 30}
    )
    texts = {f"doc-{number}": f"secret{number // 2} of wine\n\n" + LONG for number in range(6)}
    principals = {name: names for name, names in zip(texts, open_to, strict=True) if names is not None}
    index(pipeline, texts, principals=principals)
    allowed = {name for name in texts if name not in principals or set(principals[name]) & set(caller)}
    for chain in (("dedupe", "neighbours"), ("group", "neighbours"), ("diversity", "dedupe", "group", "highlight")):
        hits = ask(pipeline, *chain, text="secret wine", principals=caller, limit=50).hits
        shown = {one.document for hit in hits for one in (hit, *hit.grouped_hits)} | {
            name for hit in hits for name in hit.duplicates
        }
        assert shown <= allowed
        if chain[0] != "dedupe":
            assert {hit.document for hit in hits} | {name for hit in hits for name in hit.duplicates} == allowed


# -- who says which, and with what -----------------------------------------------------------------------------------


def test_a_query_chooses_what_comes_out_and_not_how(make_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = make_pipeline()
    index(pipeline)
    with pytest.raises(PluginNotFoundError, match="no postprocessor plugin 'nowhere'"):
        ask(pipeline, "nowhere")
    with pytest.raises(PluginNotFoundError, match="reranker"):
        ask(pipeline, "fake-reranker")
    for options in ({"k": 0}, {"depth": 3}, {"k_env": "HOME"}):
        with pytest.raises(PluginConfigError):
            ask(pipeline, option("group", **options))
    with pytest.raises(PluginConfigError, match="can't be set for a query"):
        ask(pipeline, option("fake-postprocessor", seconds=1))
    kept = len(pipeline.runtime.host._slots)
    for k in range(1, 9):
        ask(pipeline, option("group", k=k))
    assert len(pipeline.runtime.host._slots) == kept, "instances for one search are not kept"


def test_a_collection_has_its_own(make_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = make_pipeline()
    config = {**FAKE_COLLECTION, "search": {"postprocessors": [option("group", k=3), "highlight"]}}
    source = SourceRequest(connector="fake-connector", name="fake", config={"documents": TEXTS})
    pipeline.index(source, config=config)
    [long] = [hit for hit in ask(pipeline, text="barrel").hits if hit.document == "long"]
    assert len(long.grouped_hits) == 2
    assert all(one.highlights for one in (long, *long.grouped_hits))


def test_a_disabled_one_is_told_and_named_refused(make_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = make_pipeline(disabled=("highlight",))
    index(pipeline)
    answer = search(pipeline.runtime, SearchQuery(text="wine", rerank=False))
    assert answer.hits
    assert "highlight is not available" in answer.warnings[0]
    with pytest.raises(PluginNotFoundError, match="disabled"):
        ask(pipeline, "highlight")


def test_a_search_workers_answer_is_the_same(make_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = make_pipeline()
    index(pipeline)
    query = SearchQuery(
        text="wine",
        rerank=False,
        postprocessors=[option("group", k=2), "neighbours", "highlight"],
        principals=frozenset({"anna"}),
    )
    here = search(pipeline.runtime, query)
    reply = json.loads(json.dumps(remote_search.answered(pipeline.runtime, json.loads(json.dumps(asdict(query))))))
    there = remote_search._answer(reply)
    assert there.hits == here.hits
    assert any(hit.grouped_hits for hit in here.hits)
    assert any(hit.context_before or hit.context_after for hit in here.hits)
    assert [SearchHit.from_dict(asdict(hit)) for hit in here.hits] == here.hits
