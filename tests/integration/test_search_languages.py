"""Words of several languages in one collection, and what titles and headings weigh, through the whole pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select, update

from semantik_pipeline import collections, generations, vocabulary
from semantik_pipeline.configurations import parse_changes
from semantik_pipeline.documents import SearchRequest
from semantik_pipeline.generations import building
from semantik_pipeline.ledger import tables
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.verification import verify
from tests.integration.conftest import FAKE_COLLECTION, Pipeline, texts

GERMAN = (
    "Die alten Häuser der Städte wurden nach dem Krieg wieder aufgebaut, und die Bürger zogen in ihre Wohnungen ein. "
    * 3
)
ENGLISH = (
    "The old houses of the towns were built again after the war, and the citizens moved into their new dwellings. " * 3
)

#: Two languages to choose from: lingua loads little, and is sure.
SPEAKING = FAKE_COLLECTION | {
    "extraction": {
        "enabled": True,
        "chunk": [],
        "document": [{"plugin": "language", "options": {"languages": ["de", "en"]}}],
    }
}


@pytest.fixture
def babel(make_pipeline, tmp_path: Path) -> Pipeline:
    pipeline = make_pipeline()
    folder = texts(tmp_path / "babel", german=GERMAN, english=ENGLISH, short="houses 17")
    pipeline.folder(folder, config=SPEAKING)
    return pipeline


def found(pipeline: Pipeline, text: str, **more) -> set[str]:
    answer = search(pipeline.runtime, SearchQuery(text=text, mode="sparse", rerank=False, **more))
    return {hit.document.rpartition("/")[2] for hit in answer.hits}


def rebuilt(pipeline: Pipeline, *changes: str) -> dict:
    operation = generations.reindex(pipeline.runtime, "default", parse_changes(changes))
    for _ in range(50):
        building.advance(pipeline.runtime, seconds=5)
        pipeline.run()
        if pipeline.result(operation)["outcome"] is not None:
            break
    assert pipeline.result(operation)["outcome"] == "succeeded", pipeline.result(operation)
    return pipeline.result(operation)


def test_words_are_found_in_the_forms_of_their_language(babel: Pipeline) -> None:
    assert found(babel, "Haus") == {"german.txt"}
    assert found(babel, "house") == {"english.txt", "short.txt"}  # of the short one nobody knows the language
    assert found(babel, "die") == set()
    assert found(babel, "war") == {"english.txt"}


def test_phrases_with_stop_words_of_one_language_are_found(babel: Pipeline, tmp_path: Path) -> None:
    """English keeps "man" and finds it in English texts alone, for of the German ones it was left out."""
    more = {"german": GERMAN + "Das war, was man muss. ", "english": ENGLISH + "A man of the town. "}
    babel.folder(texts(tmp_path / "babel", **more), config=SPEAKING)
    for phrase in ('"man muss"', '"was man muss" Stadt'):
        answer = search(babel.runtime, SearchQuery(text=phrase, rerank=False))
        assert {hit.document.rpartition("/")[2] for hit in answer.hits} == {"german.txt"}, phrase


def test_a_stop_word_of_a_language_that_a_caller_sees_is_no_typing_error(make_pipeline) -> None:
    pipeline = make_pipeline()
    own = {"german": ["anna"], "english": ["anna", "ben"]}
    said = {"german": GERMAN, "english": ENGLISH + "It was a dark night. "}
    given = {"documents": said, "principals": own}
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config=given), config=SPEAKING)
    vocabulary.advance(pipeline.runtime, seconds=10, last=True)

    def corrections(text: str, principals: list[str] | None) -> dict[str, str]:
        asked = SearchQuery(text=text, mode="sparse", rerank=False, principals=principals)
        return search(pipeline.runtime, asked).interpretation["corrections"]

    assert "nicht" not in GERMAN
    assert corrections("nicht", ["ben"]) == {"nicht": "night"}  # and nothing is told of what is hidden
    assert corrections("nicht", ["anna"]) == corrections("nicht", None) == {}
    assert corrections("nihgt", ["anna"]) == corrections("nihgt", None) == {"nihgt": "night"}


def test_one_language_for_all_is_a_choice_and_a_reindex_away(babel: Pipeline) -> None:
    rebuilt(babel, "sparse.by_document=false", "sparse.language=german")
    assert found(babel, "die") == set()
    assert found(babel, "war") == set()  # a German stop word
    assert found(babel, "the") == {"english.txt"}
    assert verify(babel.runtime).clean


def test_an_index_from_before_accents_were_left_out_says_so_and_has_them_after_a_reindex(
    make_pipeline: Callable[..., Pipeline], tmp_path: Path
) -> None:
    pipeline = make_pipeline()
    folder = texts(tmp_path / "notes", one="Send a résumé to the office.", two="They resume work.")
    pipeline.folder(folder, config=FAKE_COLLECTION | {"sparse": {"fold_accents": False}})
    assert found(pipeline, "resume") == {"two.txt"}
    with pipeline.runtime.ledger.write() as tx:
        for table in (tables.collections, tables.generations):
            ((id, config),) = tx.execute(select(table.c.id, table.c.config)).all()
            config["sparse"].pop("fold_accents")
            tx.execute(update(table).where(table.c.id == id).values(config=config))
    assert collections.show(pipeline.runtime, "default")["outdated"] == [
        "configuration: sparse.fold_accents: not set → True"
    ]
    rebuilt(pipeline)
    assert collections.show(pipeline.runtime, "default")["outdated"] == []
    assert found(pipeline, "resume") == found(pipeline, "résumé") == {"one.txt", "two.txt"}
    assert verify(pipeline.runtime).clean


def test_a_document_that_speaks_another_language_is_written_anew(babel: Pipeline, tmp_path: Path) -> None:
    texts(tmp_path / "babel", german=ENGLISH.replace("citizens", "burghers"))
    babel.folder(tmp_path / "babel", config=SPEAKING)
    assert found(babel, "Haus") == set()
    assert found(babel, "burgher house") == {"german.txt", "english.txt", "short.txt"}
    assert verify(babel.runtime).clean


def test_points_carry_the_language_of_their_words(babel: Pipeline) -> None:
    runtime = babel.runtime
    index = runtime.ledger.search_view("default").index
    assert [code for code, _ in runtime.store.facet(index, "language")] in (["de", "en"], ["en", "de"])
    (hits,) = runtime.store.search(index, [SearchRequest(text="Haus", languages=("de",))])
    assert {hit.payload["language"] for hit in hits} == {"de"}


def test_what_a_title_weighs_is_rewritten_without_embedding(make_pipeline, tmp_path: Path) -> None:
    pipeline = make_pipeline()
    held, other = (
        "What a worker holds while it works.",
        "The lease is renewed, and a lease that ends is a lease no more.",
    )
    folder = texts(tmp_path / "notes", lease=held, other=other)  # a file's name is its title
    pipeline.folder(folder, config=FAKE_COLLECTION | {"sparse": {"title_weight": 0, "heading_weight": 0}})
    assert found(pipeline, "lease") == {"other.txt"}
    changes = {"sparse.title_weight": 8}
    assert generations.plan(pipeline.runtime, "default", changes).texts_to_embed == 0
    rebuilt(pipeline, "sparse.title_weight=8")
    answer = search(pipeline.runtime, SearchQuery(text="lease", mode="sparse", rerank=False))
    assert [hit.document.rpartition("/")[2] for hit in answer.hits] == ["lease.txt", "other.txt"]


def test_how_to_search_counts_at_once_and_makes_nothing_outdated(babel: Pipeline) -> None:
    asked = SearchQuery(text="Häuser 17", rerank=False)
    before = search(babel.runtime, asked)
    shown = collections.configure(babel.runtime, "default", {"search.dense_weight": 0.0, "search.fusion": "dbsf"})
    assert shown["outdated"] == []
    after = search(babel.runtime, asked)
    assert [hit.scores["fused"] for hit in after.hits] != [hit.scores["fused"] for hit in before.hits]
    assert {hit.document for hit in after.hits} == {hit.document for hit in before.hits}
    said = search(babel.runtime, SearchQuery(text="Häuser 17", rerank=False, dense_weight=0.6, fusion="minmax"))
    assert [hit.scores for hit in said.hits] == [hit.scores for hit in before.hits]


@pytest.mark.parametrize(
    ("by_document", "language", "marked"),
    [
        (True, "none", {"english"}),
        (True, "english", {"english", "short"}),
        (False, "none", set()),
        (False, "english", {"english", "short"}),
    ],
)
def test_words_are_marked_by_the_rules_that_the_index_has_for_a_document(
    make_pipeline: Callable[..., Pipeline], tmp_path: Path, by_document: bool, language: str, marked: set[str]
) -> None:
    """``short`` is in no language, so that the collection's counts."""
    pipeline = make_pipeline()
    folder = texts(tmp_path / "babel", german=GERMAN, english=ENGLISH, short="houses 17")
    pipeline.folder(folder, config=SPEAKING | {"sparse": {"by_document": by_document, "language": language}})
    answer = search(pipeline.runtime, SearchQuery(text="house", mode="dense", rerank=False))
    names = {hit.document.rpartition("/")[2].removesuffix(".txt"): hit for hit in answer.hits}
    assert set(names) == {"german", "english", "short"}
    assert {name for name, hit in names.items() if hit.highlights} == marked
