"""What looking for typing errors costs at most, and that it fails no search."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest

from semantik_pipeline.errors import ServiceUnavailable
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.search.understanding import corrections

#: Words that resemble each other in nothing but their length.
STRANGE = ["".join(letters) * 2 for letters in product("aeiou", "xz", "q")]


@pytest.fixture
def scrolled(runtime, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The filters with which points were read from now on."""
    filters: list[Any] = []
    scroll = runtime.store.scroll

    def recording(name, filter=None, fields=None, after=None, limit=1000, with_vectors=False):
        filters.append(filter)
        return scroll(name, filter, fields, after, limit, with_vectors)

    monkeypatch.setattr(runtime.store, "scroll", recording)
    return filters


@pytest.fixture
def resembling(runtime, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What the ledger was asked for: word and limit."""
    asked: list[tuple[str, int]] = []
    ask = runtime.ledger.resembling_words

    def recording(generation_id, word, **like):
        asked.append((word, like["limit"]))
        return ask(generation_id, word, **like)

    monkeypatch.setattr(runtime.ledger, "resembling_words", recording)
    return asked


def corrected(runtime, text: str, **asked: Any) -> dict[str, str]:
    return search(runtime, SearchQuery(text=text, rerank=False, **asked)).interpretation["corrections"]


def test_no_text_is_read_for_words_that_nothing_has(runtime, scrolled: list[Any]) -> None:
    """The engine has no index of texts: it would read all of them."""
    runtime.add("the falcon flies")
    runtime.ledger.words = {"the": 1, "falcon": 1, "flies": 1, "hidden": 1}
    assert corrected(runtime, "falcom hidden", principals=["ben"]) == {"falcom": "falcon"}
    assert scrolled and '"text"' not in json.dumps(scrolled)


def test_a_store_that_fails_while_errors_are_looked_for_fails_no_search(
    runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.add("the falcon flies")
    answer, failed = runtime.store.search, []

    def failing(name, requests):
        if not failed:
            failed.append(name)
            raise ServiceUnavailable("no answer within 30 seconds")
        return answer(name, requests)

    monkeypatch.setattr(runtime.store, "search", failing)
    told = search(runtime, SearchQuery(text="falcom", rerank=False, principals=["ben"]))
    assert failed and [hit.document for hit in told.hits] == ["doc-1"]
    assert told.warnings == ["typos could not be corrected"]


@pytest.mark.parametrize("alike", [False, True])
def test_the_ledger_is_asked_for_few_words_however_many_are_unknown(runtime, resembling, alike: bool) -> None:
    runtime.add("the falcon flies")
    known = [f"known{a}{b}" for a, b in product("bcdfg", "hjkl")]
    runtime.ledger.words = dict.fromkeys([*known, *([word + "y" for word in STRANGE] if alike else [])], 1)
    assert corrected(runtime, " ".join([*known, *STRANGE])) == {}  # the index has none of them
    assert [word for word, _ in resembling] == STRANGE[: corrections.MOST_UNKNOWN]
    assert {limit for _, limit in resembling} == {corrections.PAGE} and corrections.PAGE <= 2000


#: Words one error away from "blackmoot", which is two away from "blackwood".
NEARER = [f"blackmoo{letter}" for letter in "abcdefghijklmnopqrsuvwxyz"] + ["blackmot", "blackmoott", "lackmoot"]


@pytest.mark.parametrize("hidden", [[], NEARER[:1], NEARER])
def test_words_that_the_caller_may_not_see_push_none_of_its_own_away(runtime, hidden: list[str]) -> None:
    """Neither nearer ones, nor many as near, nor those of other words: else their number would tell of them."""
    runtime.add("the blackwood grows")
    for word in hidden:
        runtime.add(f"the {word} grows", indexed=False)
    runtime.ledger.words = {"the": 1, "grows": 1, "blackwood": 1, **dict.fromkeys(hidden, 9)}
    for principals in (["ben"], None):
        assert corrected(runtime, "the blackmoot grows", principals=principals) == {"blackmoot": "blackwood"}


def test_errors_that_nothing_visible_answers_do_not_count(runtime) -> None:
    runtime.add("the falcon flies over black hills and white towns and deep rivers")
    hidden = [f"{word}y" for word in STRANGE[: corrections.MOST_ERRORS]]
    runtime.ledger.words = dict.fromkeys([*hidden, "the", "falcon", "over", "black", "hills", "white", "towns"], 1)
    text = " ".join([*STRANGE[: corrections.MOST_ERRORS], "falcom", "over", "black", "hills", "white", "towns"])
    assert corrected(runtime, text, principals=["ben"]) == {"falcom": "falcon"}


def test_more_resembling_words_than_a_page_has_are_all_looked_at(runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.add("the falcon flies")
    words = sorted(["falcon", *(f"falco{letter}" for letter in "abcdefghijkl")])

    def paged(generation_id, word, *, after, limit, **like):
        return [(one, 1) for one in words if one > after][:limit]

    monkeypatch.setattr(corrections, "PAGE", 5)
    monkeypatch.setattr(runtime.ledger, "resembling_words", paged)
    runtime.ledger.words = {"the": 1}
    assert corrected(runtime, "the falcom", principals=["ben"]) == {"falcom": "falcon"}


def test_whether_a_word_is_there_reads_no_text(runtime) -> None:
    """A caller who may not see everything asks it with each query."""
    runtime.add("the falcon flies")
    runtime.ledger.words = {"the": 1, "falcon": 1, "flies": 1}
    assert corrected(runtime, "the falcon flies", principals=["ben"]) == {}
    assert not any(one.with_payload for _, requests in runtime.store.calls for one in requests)


@pytest.mark.parametrize("nothing", ["title_weight", "heading_weight"])
def test_words_are_found_where_bm25_does_not_read(runtime, nothing: str) -> None:
    runtime.ledger.config = {"sparse": {nothing: 0}}
    place = {"title": "Budget"} if nothing == "title_weight" else {"section": ["Budget"]}
    runtime.add("the budget of a house", title="Costs")
    runtime.add("plans for a house", **place)
    assert found(runtime, 'house "budget"') == {"doc-1", "doc-2"}
    if nothing == "title_weight":
        assert found(runtime, "house title:budget") == {"doc-2"}


def found(runtime, text: str) -> set[str]:
    return {hit.document for hit in search(runtime, SearchQuery(text=text, rerank=False)).hits}
