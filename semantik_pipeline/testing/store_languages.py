"""The part of the contract of vector stores about languages. :class:`VectorDBContract` includes it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from semantik_pipeline.documents import SearchRequest
from semantik_pipeline.testing.store_points import SPEC, make_point, point_id


class LanguagesContract:
    """Tests of BM25 with stemming by each point's language. The inheriting class must have a fixture ``store``. The
    tests are skipped for a store without the capability ``languages``."""

    @pytest.fixture
    def babel(self, store: Any) -> Iterator[str]:
        if not {"languages", "sparse"} <= store.capabilities:
            pytest.skip("the store stems all words alike")
        name = f"index-{uuid.uuid4().hex[:8]}"
        store.create_index(name, replace(SPEC, bm25={"language": "english", "by_document": True, "fold_accents": True}))
        yield name
        store.drop_index(name)

    def test_words_are_stemmed_by_the_language_of_their_point(self, store: Any, babel: str) -> None:
        german = make_point(1, text="Die Häuser der Städte", language="de")
        english = make_point(2, text="The houses of the towns", language="en")
        store.insert(babel, [german, english, make_point(3, text="houses, and nobody knows their language")])
        assert found(store, babel, "Stadt", "de", "en") == {german.id}
        assert found(store, babel, "house", "de", "en") == {english.id, point_id(3)}
        assert found(store, babel, "town Haus", "de", "en") == {english.id, german.id}

    def test_stop_words_are_those_of_the_language(self, store: Any, babel: str) -> None:
        store.insert(babel, [make_point(1, text="Das war die Lage", language="de")])
        store.insert(babel, [make_point(2, text="The causes of the war", language="en")])
        assert found(store, babel, "war", "de", "en") == {point_id(2)}
        assert found(store, babel, "the", "de", "en") == set()

    def test_it_tells_which_words_are_left_out(self, store: Any, babel: str) -> None:
        words = ("the", "war", "die", "Lage")
        assert store.stop_words(babel, words) == {"the"}
        assert store.stop_words(babel, words, ("de", "pl")) == {"the", "war", "die"}

    def test_words_of_an_unknown_language_count_as_they_stand(self, store: Any, babel: str) -> None:
        store.insert(babel, [make_point(1, text="zamki na wzgórzach", language="pl")])
        assert found(store, babel, "Wzgórzach", "pl") == {point_id(1)}
        assert found(store, babel, "zamkiem", "pl") == set()

    def test_a_script_without_spaces_is_searched_by_its_words(self, store: Any, babel: str) -> None:
        store.insert(babel, [make_point(1, text="東京大学の学生は図書館で勉強しています。", language="ja")])
        store.insert(babel, [make_point(2, text="The library is called 図書館 there.", language="en")])
        store.insert(babel, [make_point(3, text="北京大学的学生", language="zh")])
        assert found(store, babel, "図書館", "ja", "zh", "en") == {point_id(1), point_id(2)}
        assert found(store, babel, "北京大学", "ja", "zh", "en") >= {point_id(3)}

    def test_words_are_found_without_their_accents(self, store: Any, babel: str) -> None:
        store.insert(babel, [make_point(1, text="Send a résumé.", language="en")])
        store.insert(babel, [make_point(2, text="They resume work.", language="en")])
        store.insert(babel, [make_point(3, text="Les pommes mangées", language="fr")])
        assert found(store, babel, "resume", "en", "fr") == {point_id(1), point_id(2)}
        (hits,) = store.search(babel, [SearchRequest(text="résumé", languages=("en", "fr"))])
        assert [hit.id for hit in hits] == [point_id(1), point_id(2)]
        assert found(store, babel, "mangees", "en", "fr") == found(store, babel, "manger", "en", "fr") == {point_id(3)}

    def test_languages_that_it_has_not_change_nothing(self, store: Any, babel: str) -> None:
        store.insert(babel, [make_point(n, text=f"lease {n} renewed", language="en") for n in range(5)])
        (plain,) = store.search(babel, [SearchRequest(text="renewing leases")])
        (asked,) = store.search(babel, [SearchRequest(text="renewing leases", languages=("fi", "xx", "", "zh-Hant"))])
        assert [(hit.id, hit.score) for hit in asked] == [(hit.id, pytest.approx(hit.score)) for hit in plain] != []

    def test_an_index_for_one_language_stems_all_alike(self, store: Any, babel: str) -> None:
        store.create_index(f"{babel}-one", replace(SPEC, bm25={"language": "german", "by_document": False}))
        store.insert(f"{babel}-one", [make_point(1, text="Häuser", language="en")])
        assert found(store, f"{babel}-one", "Haus", "en") == {point_id(1)}
        store.drop_index(f"{babel}-one")


def found(store: Any, index: str, text: str, *languages: str) -> set[str]:
    (hits,) = store.search(index, [SearchRequest(text=text, languages=languages)])
    return {hit.id for hit in hits}
