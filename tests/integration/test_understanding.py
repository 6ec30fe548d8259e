"""What a query means, through the whole pipeline: phrases, exclusions, fields and typing errors. Nothing leaks."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from sqlalchemy import select, update

from semantik_pipeline import push, vocabulary
from semantik_pipeline.errors import UsageError
from semantik_pipeline.ledger.documents import words
from semantik_pipeline.ledger.tables import documents
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.push import Given
from semantik_pipeline.search import SearchAnswer, SearchQuery, search
from semantik_pipeline.search.understanding import planning
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from tests.integration.conftest import FAKE_COLLECTION

TEXTS = {
    "lease": "The notice period of the lease is three months, and the tenant pays the deposit.",
    "draft": "A draft of the lease: the period of notice is not agreed yet.",
    "engine": "The turbine engine burns kerosene, which the pump brings from the tank.",
    "zeppelin": "A zeppelin is an airship; its envelope holds hydrogen or helium.",
}


def indexed(pipeline, own: dict[str, list[str]] | None = None, texts: dict[str, str] = TEXTS) -> None:
    given = {"documents": texts, "principals": own or {}}
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config=given))
    vocabulary.advance(pipeline.runtime, seconds=10, last=True)


def ask(pipeline, text: str, principals: Collection[str] | None = None, **asked: Any) -> SearchAnswer:
    query = SearchQuery(text=text, limit=20, rerank=False, principals=principals, **asked)
    return search(pipeline.runtime, query)


def found(answer: SearchAnswer) -> set[str]:
    return {hit.document for hit in answer.hits}


# -- phrases, exclusions, fields ---------------------------------------------------------------------------------------


def test_phrases_exclusions_and_fields_narrow_a_search(make_pipeline) -> None:
    pipeline = make_pipeline()
    indexed(pipeline)
    assert found(ask(pipeline, "lease")) == set(TEXTS)  # the dense leg finds something in everything
    assert found(ask(pipeline, 'lease "notice period"')) == {"lease"}
    assert found(ask(pipeline, '"lease"')) == {"lease", "draft"}
    assert found(ask(pipeline, "lease -draft")) == {"lease", "engine", "zeppelin"}
    assert found(ask(pipeline, 'lease -"notice period"')) == {"draft", "engine", "zeppelin"}
    assert found(ask(pipeline, '"notice period" "tank"')) == set()
    assert found(ask(pipeline, "lease source:fake")) == set(TEXTS)
    assert found(ask(pipeline, "lease source:other")) == set()
    assert found(ask(pipeline, "lease before:2020")) == set()
    answer = ask(pipeline, 'lease -draft "notice period" after:2020-01-01')
    assert answer.interpretation == {
        "text": "lease notice period",
        "phrases": ["notice period"],
        "excluded": ["draft"],
        "filters": [{"field": "after", "value": "2020-01-01", "excluded": False}],
        "corrections": {},
    }
    for mode in ("dense", "sparse"):
        assert found(ask(pipeline, '"notice period"', mode=mode)) == {"lease"}


@pytest.fixture(params=["qdrant-edge", "qdrant"])
def either_store(request: pytest.FixtureRequest, make_pipeline) -> Iterator[Any]:
    """A pipeline on each of the stores."""
    double = QdrantDouble().start() if request.param == "qdrant" else None
    yield make_pipeline(**({"qdrant": {"url": double.url}} if double else {}))
    if double:
        double.stop()


def test_accents_are_found_in_either_unicode_form(either_store) -> None:
    """macOS writes an accent as a character of its own, most others as a part of its letter."""
    either_store.runtime.collection("default", FAKE_COLLECTION)
    forms = {form: unicodedata.normalize(form, "Müller résumé") for form in ("NFC", "NFD")}
    given = [
        Given(unique_id=name, content=f"the paper of {author}", title=author, metadata={"author": author})
        for name, author in {**forms, "other": "Smith re sume"}.items()
    ]
    push.push(either_store.runtime, given, collection="default")
    either_store.run()
    for typed in forms.values():
        assert found(ask(either_store, f'paper "{typed}"')) == {"NFC", "NFD"}
        assert found(ask(either_store, f'paper -"{typed}"')) == {"other"}
        for field in ("title", "author", "metadata.author"):
            assert found(ask(either_store, f'{field}:"{typed}"')) == {"NFC", "NFD"}, field


def test_a_query_of_filters_lists_documents_once_each(make_pipeline) -> None:
    pipeline = make_pipeline()
    indexed(pipeline, texts={**TEXTS, "long": "word " * 500})
    answer = ask(pipeline, "source:fake")
    assert sorted(hit.document for hit in answer.hits) == sorted({*TEXTS, "long"})
    assert {hit.score for hit in answer.hits} == {1.0}
    assert "embed" not in answer.timings_ms
    pages = [ask(pipeline, "source:fake", offset=at).hits for at in range(5)]
    assert [page[0].document for page in pages] == [hit.document for hit in answer.hits]
    assert found(ask(pipeline, "-draft source:fake")) == {"lease", "engine", "zeppelin", "long"}


def test_it_can_be_left_out(make_pipeline) -> None:
    pipeline = make_pipeline()
    indexed(pipeline)
    answer = ask(pipeline, 'lesae -draft "notice period"', interpret=False)
    assert found(answer) == set(TEXTS) and answer.interpretation is None


@pytest.mark.parametrize("ledger", ["sqlite", "postgres"], indirect=True)
def test_paths_are_patterns(make_pipeline, tmp_path: Path) -> None:
    pipeline = make_pipeline()
    others = {"ÄRGER/Œuvre.rst", "ärgern.rst", "ΟΔΟΣ.rst", "a_Ⓑ!.rst"}
    for name in ("docs/one.md", "docs/deep/two.md", "notes/docs.md", "my docs/three.txt", *others):
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_text(f"about wine in {name}")
    pipeline.folder(tmp_path / "here")

    def names(query: str) -> set[str]:
        return {unquote(hit.document.rpartition("/here/")[2]) for hit in ask(pipeline, query).hits}

    everything = {"docs/one.md", "docs/deep/two.md", "notes/docs.md", "my docs/three.txt"}
    for same in ("docs/*", "docs", "docs/", "DOCS/"):
        assert names(f"wine path:{same}") == {"docs/one.md", "docs/deep/two.md"}, same
    assert names("wine path:*.md") == everything - {"my docs/three.txt"}
    assert names("path:*.md -path:docs/*") == {"notes/docs.md"}
    assert names('wine path:"my docs"') == {"my docs/three.txt"}
    assert names("wine path:one.md path:three.txt") == {"docs/one.md", "my docs/three.txt"}
    assert names("wine path:nowhere") == set()
    assert names("path:ärger*") == {"ÄRGER/Œuvre.rst", "ärgern.rst"}
    assert names("path:ärger") == names("path:œUV?E.rst") == {"ÄRGER/Œuvre.rst"}
    assert names("path:οδος.*") == names("path:ΟΔΟΣ*") == {"ΟΔΟΣ.rst"}
    assert names("path:*.rst -path:Ärger*") == {"ΟΔΟΣ.rst", "a_Ⓑ!.rst"}
    assert names("path:a_ⓑ!*") == names("path:A_?!.rst") == {"a_Ⓑ!.rst"}
    assert names("path:a%Ⓑ*") == names("path:__ⓑ?.rst") == set()
    assert names("wine type:md") == everything - {"my docs/three.txt"}
    assert names("wine -type:markdown") == {"my docs/three.txt", *others}


# -- typing errors -----------------------------------------------------------------------------------------------------


def test_a_typing_error_finds_what_was_meant(make_pipeline) -> None:
    pipeline = make_pipeline()
    indexed(pipeline)
    for typed in ("zepelin", "zeppellin", "zeppelib", "zepeplin", "Zepplin", "zepellin", "zeppelin's zepelin"):
        answer = ask(pipeline, f"{typed} envelope", mode="sparse")
        assert answer.hits[0].document == "zeppelin", typed
        assert set(answer.interpretation["corrections"].values()) == {"zeppelin"}, typed
        assert "eppelin" in answer.interpretation["text"]


def test_words_that_are_there_are_left_alone(make_pipeline) -> None:
    pipeline = make_pipeline()
    indexed(pipeline, texts={"a": "the form of a wing", "b": "a letter from the king", "c": "bing bang"})
    for text in ("form from", "wing king bing", "forms", 'b42 "frm" -wng x_frm frm@example.org', "frm", "wings"):
        assert ask(pipeline, text).interpretation["corrections"] == {}, text


def test_the_rest_of_the_query_chooses_among_candidates(make_pipeline) -> None:
    pipeline = make_pipeline()
    indexed(pipeline, texts={"a": "the mouse eats cheese", "b": "the house has a roof", "c": "a house, the house"})
    assert ask(pipeline, "nouse cheese").interpretation["corrections"] == {"nouse": "mouse"}
    assert ask(pipeline, "nouse roof").interpretation["corrections"] == {"nouse": "house"}


def test_another_language_is_no_typing_error(make_pipeline) -> None:
    pipeline = make_pipeline()
    indexed(pipeline, texts={"a": "the night was hot and dark, alone in the house, never, ever"})
    assert ask(pipeline, "nicht allein denn niemals eben").interpretation["corrections"] == {}


def test_corrections_can_be_switched_off(make_pipeline) -> None:
    pipeline = make_pipeline(search={"spelling_correction": False})
    indexed(pipeline)
    assert ask(pipeline, "zepelin").interpretation["corrections"] == {}
    with pipeline.runtime.ledger.read() as tx:
        assert tx.execute(select(words.words.c.word)).all() == []


# -- whose words -------------------------------------------------------------------------------------------------------

OWN = {"lease": ["anna"], "draft": ["ben"], "zeppelin": ["anna"], "engine": ["ben"]}


def test_nobody_is_told_a_word_of_a_hidden_document(make_pipeline) -> None:
    pipeline = make_pipeline()
    indexed(pipeline, OWN)
    assert ask(pipeline, "zepelin", ["anna"]).interpretation["corrections"] == {"zepelin": "zeppelin"}
    for principals in (["ben"], [], ["carl"]):
        answer = ask(pipeline, "zepelin", principals)
        assert answer.interpretation["corrections"] == {}
        assert "zeppelin" not in str(answer.to_dict())


def test_whether_a_word_is_an_error_is_decided_by_what_the_caller_sees(make_pipeline) -> None:
    """Else a caller could ask for a word, and tell from what it is corrected to whether a hidden document has it."""
    pipeline = make_pipeline()
    own = {"closed": ["anna"], "open": ["ben"]}
    indexed(pipeline, own, {"closed": "project falcom", "open": "the falcon is a bird with this and that feather"})
    assert ask(pipeline, "falcom", ["anna"]).interpretation["corrections"] == {}
    assert ask(pipeline, "falcom", ["ben"]).interpretation["corrections"] == {"falcom": "falcon"}
    assert ask(pipeline, "falcox", ["ben"]).interpretation["corrections"] == {"falcox": "falcon"}
    assert ask(pipeline, "with this falcon that", ["ben"]).interpretation["corrections"] == {}


def test_phrases_and_paths_open_nothing(make_pipeline) -> None:
    pipeline = make_pipeline()
    indexed(pipeline, OWN)
    assert found(ask(pipeline, '"notice period"', ["ben"])) == set()
    assert found(ask(pipeline, "source:fake", ["ben"])) == {"draft", "engine"}
    assert found(ask(pipeline, "-draft", ["ben"])) == {"engine"}


def test_paths_stand_for_no_document_that_the_caller_may_not_see(
    make_pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for its number: whether a pattern is too wide is decided by the caller's documents."""
    pipeline = make_pipeline()
    indexed(pipeline, OWN)
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(documents).values(file_path="docs/" + documents.c.unique_id))
        tx.execute(update(documents).where(documents.c.unique_id.in_(["lease", "engine"])).values(file_path="a"))
    monkeypatch.setattr(planning, "MOST_DOCUMENTS", 1)
    assert found(ask(pipeline, "path:docs", ["ben"])) == {"draft"}
    assert found(ask(pipeline, "-path:docs", ["ben"])) == {"engine"}
    with pytest.raises(UsageError, match="matches more"):
        ask(pipeline, "path:docs")
