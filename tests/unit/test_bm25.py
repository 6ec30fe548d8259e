"""Texts as BM25 vectors: by the rules of their languages, and scripts without spaces in pairs."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
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


@pytest.fixture(scope="module")
def folding() -> Bm25Vectors:
    return Bm25Vectors({"language": "english", "by_document": True, "fold_accents": True})


def met(bm25: Bm25Vectors, query: str, text: str, language: str | None = None) -> float:
    """What the query and the text have in common; the store's IDF left aside."""
    asked = bm25.query(query, [language] if language else [])
    vector = bm25.document(text, language)
    return sum(weight * asked.get(term, 0.0) for term, weight in zip(vector.indices, vector.values, strict=True))


@pytest.mark.parametrize(
    ("query", "text", "language"),
    [
        ("resume", "My résumé.", "en"),
        ("résumé", "My resume.", "en"),
        ("mangees", "Elles étaient mangées.", "fr"),
        ("jalapeno", "Un jalapeño", "es"),
        ("smorgasbord", "Ett smörgåsbord", "sv"),
        ("zolw", "Żółw", "pl"),
        ("Αθηνα", "Η Αθήνα", "el"),
        ("елка", "Ёлка", "ru"),
        ("cafe", "cafe\u0301", "en"),
    ],
)
def test_words_are_found_without_their_accents(
    folding: Bm25Vectors, by_document: Bm25Vectors, query: str, text: str, language: str
) -> None:
    assert met(folding, query, text, language) > 0
    assert met(folding, text, text, language) >= met(folding, query, text, language)


def test_who_types_an_accent_finds_it_first(folding: Bm25Vectors) -> None:
    assert met(folding, "résumé", "My résumé") > met(folding, "résumé", "My resume") > 0


def test_a_word_counts_as_much_with_its_accents_as_without(folding: Bm25Vectors) -> None:
    assert sum(folding.query("résumé").values()) == sum(folding.query("resume").values()) == 1
    assert folding.query("resume résumé")[next(iter(folding.query("resume")))] == 1


def test_words_are_stemmed_before_they_lose_their_accents(folding: Bm25Vectors) -> None:
    assert met(folding, "mangée", "manger", "fr") > 0
    assert met(folding, "fêtes", "fête", "fr") > 0


def test_stop_words_lose_nothing_and_stay_out(folding: Bm25Vectors) -> None:
    assert folding.document("été", "fr").indices == []
    assert met(folding, "ete", "été", "fr") == 0


@given(words, languages)
def test_plain_words_are_as_they_were(
    folding: Bm25Vectors, by_document: Bm25Vectors, text: str, language: str | None
) -> None:
    plain = text.replace("Häuser", "x")
    assert folding.query(plain, [language] if language else []) == by_document.query(
        plain, [language] if language else []
    )
    ours, theirs = folding.document(plain, language), by_document.document(plain, language)
    assert (ours.indices, ours.values) == (theirs.indices, theirs.values)


@given(st.text() | st.text(st.sampled_from("aeéÉñ_ßœŒ \u0301\u0345\u064bωώйёⒶ")), languages)
@example("cafe\u0301\u0345", "en")
@example("thé", "en")
@example("für_x", "de")
def test_any_text_is_found_by_itself_and_by_its_plain_letters(
    folding: Bm25Vectors, text: str, language: str | None
) -> None:
    """But for what an English stop word is in another language, which a query leaves out."""
    terms = set(folding.document(text, language).indices)
    asked = set(folding.query(text, [language] if language else []))
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text))
    lost = set(folding.document(" ".join(folding.stop_words(words)), language).indices)
    assert terms <= asked | lost


@pytest.mark.parametrize("word", ["cafe\u0301\u0345", "éⒶ", "naïve\u064b", "é\u0903"])
def test_marks_that_are_letters_to_the_engine_belong_to_the_word(folding: Bm25Vectors, word: str) -> None:
    assert set(folding.query(word).values()) == {0.5}
    for language in ("en", "de"):
        assert met(folding, word, word, language) > 0


def test_a_word_that_is_spelt_twice_counts_once(folding: Bm25Vectors) -> None:
    assert folding.query("Müller MÜLLER müller") == folding.query("Müller")
    assert met(folding, "Müller MÜLLER", "Müller") == met(folding, "Müller", "Müller")


def test_what_stands_beside_a_word_with_an_accent_counts_whole(folding: Bm25Vectors) -> None:
    assert folding.query("café_bar") == folding.query("café bar")
    assert folding.query("thé") == dict.fromkeys(folding.query("thé"), 1.0)  # "the" is a stop word


@pytest.mark.parametrize("options", [{"language": "klingon"}, {"k3": 1}, {"b": 7}, {"title_weight": 2}])
def test_options_that_can_not_be_are_refused_at_once(options: dict) -> None:
    with pytest.raises(UsageError):
        Bm25Vectors(options)
