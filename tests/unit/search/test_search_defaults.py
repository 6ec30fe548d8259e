"""What counts where nobody says it: the query's word, then the collection's, then the settings'."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from semantik_pipeline.documents import IndexSpec
from semantik_pipeline.errors import UsageError
from semantik_pipeline.search import SearchQuery
from semantik_pipeline.search.index_languages import IndexLanguages
from semantik_pipeline.search.request import plan_search
from semantik_pipeline.settings import Search
from semantik_pipeline.testing import MemoryStore
from semantik_pipeline.testing.store_points import make_point

VALUES = {"dense_weight": (0.0, 0.25, 0.5), "fusion": ("rrf", "dbsf", "minmax"), "rerank_weight": (0.0, 0.1, 0.9)}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("said", list(itertools.product([True, False], repeat=2)))
def test_the_query_then_the_collection_then_the_settings(name: str, said: tuple[bool, bool]) -> None:
    by_query, by_collection, by_settings = VALUES[name]
    asked = SearchQuery(text="x", **({name: by_query} if said[0] else {}))
    collection = {"search": {name: by_collection}} if said[1] else {"search": None}
    plan = plan_search(asked, Search(**{name: by_settings}), collection)
    wanted = by_query if said[0] else by_collection if said[1] else by_settings
    assert getattr(plan, name) == wanted


@pytest.mark.parametrize("wrong", [{"fusion": "magic"}, {"dense_weight": -0.1}, {"rerank_weight": 2}])
def test_what_makes_no_sense_is_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        plan_search(SearchQuery(text="x", **wrong), Search(), {})


@pytest.mark.parametrize("interpret", [True, False])
def test_no_nul_comes_to_a_database(interpret: bool) -> None:
    asked = SearchQuery(text='tea\x00 path:a\x00b "green\x00tea" -\x00', interpret=interpret)
    assert "\\x00" not in repr(plan_search(asked, Search(), {}))
    with pytest.raises(UsageError, match="empty"):
        plan_search(SearchQuery(text=" \x00", interpret=interpret), Search(), {})


@pytest.mark.parametrize("name", ["a\x00", "half a \ud800"])
def test_a_name_that_no_document_can_have_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="explain_document"):
        plan_search(SearchQuery(text="x", explain_document=name), Search(), {})


class Babel(MemoryStore):
    """Says that it stems by language, and counts how often it is asked which ones there are."""

    asked = 0
    capabilities = property(lambda self: super().capabilities | {"languages"})

    def facet(self, *given, **named):
        self.asked += 1
        return super().facet(*given, **named)


@pytest.fixture
def babel(runtime):
    store = runtime.store = Babel()
    store.create_index("default-7", IndexSpec(dimension=8, payload_indexes={"language": "keyword"}))
    store.insert("default-7", [make_point(n, language="de" if n else "en") for n in range(3)])
    return runtime


def view(**sparse):
    return SimpleNamespace(index="default-7", config={"sparse": sparse} if sparse else {})


def test_an_index_is_asked_for_its_languages_once_in_a_while(babel) -> None:
    known = IndexLanguages()
    assert [known.of(babel, view(by_document=True)) for _ in range(3)] == [("de", "en")] * 3
    assert babel.store.asked == 1
    babel.store.insert("default-7", [make_point(n, language="fr") for n in range(3, 9)])
    assert known.of(babel, view(by_document=True)) == ("de", "en")
    known.forget("default-7")
    assert known.of(babel, view(by_document=True)) == ("fr", "de", "en")


def test_one_thread_looks_and_the_others_go_by_what_was_there(babel, monkeypatch) -> None:
    known, looking, go_on = IndexLanguages(), threading.Event(), threading.Event()
    facet = babel.store.facet

    def slow(*asked, **more):
        looking.set()
        assert go_on.wait(10)
        return facet(*asked, **more)

    monkeypatch.setattr(babel.store, "facet", slow)
    asked = view(by_document=True)
    with ThreadPoolExecutor(4) as threads:
        first = [threads.submit(known.of, babel, asked) for _ in range(3)]
        assert looking.wait(10)
        go_on.set()
        assert [one.result(10) for one in first] == [("de", "en")] * 3 and babel.store.asked == 1
        known._known["default-7"] = (0.0, ("de", "en"))  # its time is over
        looking.clear(), go_on.clear()
        slowly = threads.submit(known.of, babel, asked)
        assert looking.wait(10)
        assert [known.of(babel, asked) for _ in range(3)] == [("de", "en")] * 3
        go_on.set()
        assert slowly.result(10) == ("de", "en") and babel.store.asked == 2


def test_nothing_is_asked_where_it_would_change_nothing(babel, runtime) -> None:
    known = IndexLanguages()
    assert known.of(babel, view()) == known.of(babel, view(by_document=False)) == ()
    assert babel.store.asked == 0
    runtime.store = MemoryStore()  # stems all words alike
    assert known.of(runtime, view(by_document=True)) == ()
