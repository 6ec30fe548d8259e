"""Texts as BM25 vectors: by the rules of their languages, and scripts without spaces in pairs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.builtin.stores.bm25 import Bm25Vectors
from semantik_pipeline.builtin.stores.unspaced import in_pairs
from semantik_pipeline.contracts.languages import LANGUAGES, language_name, stemmed_as
from semantik_pipeline.errors import UsageError

words = st.lists(
    st.sampled_from(["wings", "flow", "heated", "図書館", "Häuser", "the", "die", "北京大学", "ไทย", "x"]), max_size=12
).map(" ".join)
languages = st.sampled_from(["en", "de", "ja", "pl", None])


@pytest.fixture(scope="module")
def by_document() -> Bm25Vectors:
    return Bm25Vectors({"language": "english", "by_document": True})


@given(words, languages)
def test_a_text_is_found_by_its_own_words(by_document: Bm25Vectors, text: str, language: str | None) -> None:
    """But for what an English stop word is in another language, which a query leaves out."""
    terms = set(by_document.document(text, language).indices)
    asked = set(by_document.query(text, [language] if language else []))
    lost = set(by_document.document("the", language).indices)
    assert terms - asked <= lost


@given(words, st.permutations(["en", "de", "ja", "pl"]))
def test_the_order_of_the_languages_does_not_matter(by_document: Bm25Vectors, text: str, some: list[str]) -> None:
    assert by_document.query(text, some) == by_document.query(text, sorted(some))


@given(words)
def test_more_languages_ask_for_more_terms(by_document: Bm25Vectors, text: str) -> None:
    alone = by_document.query(text)
    assert alone.items() <= by_document.query(text, ["de", "ja"]).items()
    assert by_document.query(text, ["en"]) == alone


@given(st.text())
def test_any_text_is_split_and_nothing_of_it_is_lost(text: str) -> None:
    paired = in_pairs(text)
    assert set(paired) - {" "} == set(text) - {" "}
    assert in_pairs(paired).split() == paired.split()


@pytest.mark.parametrize(
    ("text", "paired"),
    [
        ("図書館", "図書 書館"),
        ("GPUの速さ", "GPU の速 速さ"),
        ("本 and 本屋さん.", "本 and 本屋 屋さ さん ."),
        ("서울대학교에서", "서울 울대 대학 학교 교에 에서"),
        ("plain text, naïve", "plain text, naïve"),
    ],
)
def test_pairs(text: str, paired: str) -> None:
    assert in_pairs(text).split() == paired.split()


def test_every_language_that_is_named_can_be_had() -> None:
    for code, name in LANGUAGES.items():
        assert Bm25Vectors({"language": code}).document("12 345").indices
        assert language_name(code.upper()) == language_name(name) == name
        assert stemmed_as(code) == name
    assert (stemmed_as("pl"), stemmed_as("zh-Hant"), stemmed_as(None), stemmed_as("")) == (
        "none",
        "chinese",
        None,
        None,
    )


def test_an_index_from_before_there_were_languages_is_asked_as_it_was_made() -> None:
    old, text = Bm25Vectors({"k1": 1.2, "b": 0.75, "avg_len": 80}), "die Häuser und 図書館 flows"
    assert old.document(text, "de").indices == old.document(text).indices
    assert old.query(text, ["de", "ja"]) == old.query(text)
    assert len(old.document("図書館で").indices) == 1


@pytest.mark.parametrize("options", [{"language": "klingon"}, {"k3": 1}, {"b": 7}, {"title_weight": 2}])
def test_options_that_can_not_be_are_refused_at_once(options: dict) -> None:
    with pytest.raises(UsageError):
        Bm25Vectors(options)
