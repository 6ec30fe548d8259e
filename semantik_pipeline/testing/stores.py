"""The contract of vector stores as tests.

Subclass :class:`VectorDBContract`, implement ``make_store``, and pytest runs the contract on your store. Tests of what
is not in the store's ``capabilities`` (``sparse``, ``facet`` and so on) are skipped.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semantik_pipeline.contracts.vectordb import VectorDBPlugin
from semantik_pipeline.documents import IndexSpec, Point, SearchRequest
from semantik_pipeline.errors import DimensionMismatch, PermanentError, UsageError
from semantik_pipeline.testing.store_languages import LanguagesContract
from semantik_pipeline.testing.store_points import DIMENSION, SPEC, make_point, marks, numbers, point_id
from semantik_pipeline.testing.store_searches import SearchingContract


class Blocking:
    """Calls a store's methods, which may be ``async``, from synchronous tests."""

    def __init__(self, store: VectorDBPlugin) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._store, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = attribute(*args, **kwargs)
            return asyncio.run(answer) if inspect.iscoroutine(answer) else answer

        return call


class VectorDBContract(SearchingContract, LanguagesContract):
    """Tests that every store must pass. ``make_store`` returns an empty store that is not yet initialized."""

    def make_store(self, tmp_path: Path) -> VectorDBPlugin:
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Any]:
        store = self.make_store(tmp_path)
        asyncio.run(store.initialize())
        yield Blocking(store)
        asyncio.run(store.cleanup())

    @pytest.fixture
    def index(self, store: Any) -> Iterator[str]:
        name = f"index-{uuid.uuid4().hex[:8]}"
        store.create_index(name, SPEC)
        yield name
        store.drop_index(name)

    # -- indexes -----------------------------------------------------------------------------------------------------

    def test_an_index_is_listed_until_it_is_dropped(self, store: Any) -> None:
        assert not store.has_index("one_A-1")
        store.create_index("one_A-1", SPEC)
        assert "one_A-1" in store.list_indexes()
        assert store.has_index("one_A-1") and not store.has_index("one_A")
        store.drop_index("one_A-1")
        store.drop_index("one_A-1")
        assert "one_A-1" not in store.list_indexes()
        assert not store.has_index("one_A-1")

    def test_creating_it_again_keeps_its_points(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(1)])
        store.create_index(index, SPEC)
        assert store.count(index) == 1

    def test_another_dimension_is_refused_naming_both(self, store: Any, index: str) -> None:
        with pytest.raises(DimensionMismatch, match=r"(?s)8.*9"):
            store.create_index(index, IndexSpec(dimension=9, payload_indexes=SPEC.payload_indexes))

    def test_dropping_and_creating_starts_empty(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(1)])
        store.drop_index(index)
        store.create_index(index, SPEC)
        assert store.count(index) == 0

    def test_a_missing_index_is_named(self, store: Any) -> None:
        for call in (
            lambda: store.insert("nowhere", [make_point(1)]),
            lambda: store.count("nowhere"),
            lambda: store.search("nowhere", [SearchRequest(text="wing")]),
            lambda: store.delete("nowhere", ids=[point_id(1)]),
            lambda: store.scroll("nowhere"),
            lambda: store.set_payload("nowhere", [point_id(1)], {"epoch": 2}),
        ):
            with pytest.raises(UsageError, match="nowhere"):
                call()

    # -- inserting ---------------------------------------------------------------------------------------------------

    def test_inserting_twice_is_inserting_once(self, store: Any, index: str) -> None:
        points = [make_point(n) for n in range(5)]
        store.insert(index, points)
        store.insert(index, points)
        assert store.count(index) == 5

    def test_inserting_nothing_is_fine(self, store: Any, index: str) -> None:
        store.insert(index, [])
        assert store.count(index) == 0

    def test_what_is_inserted_comes_back(self, store: Any, index: str) -> None:
        payload: dict[str, Any] = {
            "title": "Über naïve – 漢字 🚀\n",
            "nested": {"a": [1, 2.5, None, True, {"b": []}]},
            "start": 0,
        }
        store.insert(index, [make_point(1, **payload)])
        page, _ = store.scroll(index)
        assert page[0].id == point_id(1)
        assert {name: page[0].payload[name] for name in payload} == payload

    def test_many_points_at_once(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(n) for n in range(700)])
        assert store.count(index) == 700

    def test_a_condition_spares_points_that_do_not_meet_it(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(1, epoch=7, mark="newer"), make_point(2, epoch=3, mark="older")])
        condition = {"must": [{"key": "epoch", "range": {"lte": 5}}]}
        store.insert(index, [make_point(n, epoch=5, mark="mine") for n in (1, 2, 3)], condition)
        assert marks(store, index) == {1: "newer", 2: "mine", 3: "mine"}

    def test_a_spared_point_keeps_its_vector_too(self, store: Any, index: str) -> None:
        known = make_point(1, epoch=7)
        store.insert(index, [known])
        other = Point(id=known.id, vector=-known.vector, sparse_text="other", payload={"epoch": 5})
        store.insert(index, [other], {"must": [{"key": "epoch", "range": {"lte": 5}}]})
        ((hit,),) = store.search(index, [SearchRequest(vector=known.vector, limit=1)])
        assert hit.score == pytest.approx(1.0, abs=1e-3)

    def test_vectors_of_another_length_are_refused_naming_both(self, store: Any, index: str) -> None:
        point = make_point(1)
        short = Point(id=point.id, vector=point.vector[:5], sparse_text="", payload={})
        with pytest.raises(DimensionMismatch, match=r"(?s)8.*5"):
            store.insert(index, [short])
        with pytest.raises(DimensionMismatch, match=r"(?s)8.*5"):
            store.search(index, [SearchRequest(vector=point.vector[:5])])
        assert store.count(index) == 0

    def test_lists_are_as_good_as_arrays(self, store: Any, index: str) -> None:
        point = make_point(1)
        store.insert(index, [Point(id=point.id, vector=point.vector.tolist(), sparse_text="", payload={})])
        assert len(store.search(index, [SearchRequest(vector=point.vector.tolist())])[0]) == 1

    # -- deleting ----------------------------------------------------------------------------------------------------

    def test_deleting_by_ids(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(n) for n in range(6)])
        store.delete(index, ids=[point_id(1), point_id(4), point_id(99)])
        assert set(numbers(store, index, 6)) == {0, 2, 3, 5}
        store.delete(index, ids=[])
        assert store.count(index) == 4

    def test_deleting_older_epochs_of_one_document_leaves_the_rest(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(n, document_id=1, epoch=n) for n in range(1, 6)])
        store.insert(index, [make_point(n, document_id=2, epoch=1) for n in range(6, 9)])
        older = [{"key": "document_id", "match": {"value": 1}}, {"key": "epoch", "range": {"lt": 4}}]
        store.delete(index, filter={"must": older})
        assert set(numbers(store, index, 9)) == {4, 5, 6, 7, 8}

    def test_deleting_ids_that_meet_a_filter(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(n, epoch=n) for n in range(6)])
        store.delete(
            index, ids=[point_id(n) for n in (1, 2, 3)], filter={"must": [{"key": "epoch", "range": {"lt": 3}}]}
        )
        assert set(numbers(store, index, 6)) == {0, 3, 4, 5}

    def test_deleting_without_saying_what_is_refused(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(1)])
        with pytest.raises(UsageError):
            store.delete(index)
        assert store.count(index) == 1

    def test_a_deleted_point_can_come_back(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(1, epoch=9)])
        store.delete(index, ids=[point_id(1)])
        store.insert(index, [make_point(1, epoch=2)], {"must": [{"key": "epoch", "range": {"lte": 2}}]})
        assert store.count(index) == 1

    # -- payloads ----------------------------------------------------------------------------------------------------

    def test_setting_payload_merges_and_ignores_missing_points(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(1, mark="a"), make_point(2, mark="b")])
        store.set_payload(index, [point_id(1), point_id(77)], {"mark": "c", "more": [1]})
        page, _ = store.scroll(index)
        found = {item.id: item.payload for item in page}
        assert found[point_id(1)]["mark"] == "c"
        assert found[point_id(1)]["document_id"] == 1
        assert found[point_id(2)]["mark"] == "b"
        assert point_id(77) not in found

    def test_setting_payload_under_a_condition(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(1, epoch=2, mark="old"), make_point(2, epoch=8, mark="old")])
        only = {"must": [{"key": "epoch", "range": {"lte": 5}}]}
        store.set_payload(index, [point_id(1), point_id(2)], {"mark": "new"}, only)
        assert marks(store, index) == {1: "new", 2: "old"}

    def test_setting_several_payloads_at_once(self, store: Any, index: str) -> None:
        if "payloads" not in store.capabilities:
            pytest.skip("the store sets one payload at a time")
        store.insert(index, [make_point(n, epoch=n, mark="old") for n in range(6)])
        only = {"must": [{"key": "epoch", "range": {"lte": 4}}]}
        store.set_payloads(index, [([point_id(0), point_id(1)], {"mark": "a"}), ([point_id(77)], {"mark": "b"})])
        store.set_payloads(index, [([point_id(n)], {"mark": str(n)}) for n in (3, 4, 5)], only)
        store.set_payloads(index, [])
        assert marks(store, index) == {0: "a", 1: "a", 2: "old", 3: "3", 4: "4", 5: "old"}

    # -- reading -----------------------------------------------------------------------------------------------------

    def test_scrolling_pages_in_order_of_id_without_gaps(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(n) for n in range(25)])
        seen, after, pages = [], None, 0
        while True:
            page, after = store.scroll(index, fields=["epoch"], after=after, limit=10)
            seen += [item.id for item in page]
            pages += 1
            if after is None:
                break
        assert seen == sorted(point_id(n) for n in range(25))
        assert pages == 3
        assert page[0].payload == {"epoch": 1}

    def test_scrolling_takes_a_filter_and_no_fields(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(n, epoch=n) for n in range(8)])
        page, after = store.scroll(index, filter={"must": [{"key": "epoch", "range": {"gte": 5}}]}, fields=[])
        assert [item.payload for item in page] == [{}, {}, {}]
        assert after is None

    def test_scrolling_gives_vectors_where_they_are_asked_for(self, store: Any, index: str) -> None:
        points = [make_point(n) for n in range(5)]
        store.insert(index, points)
        page, _ = store.scroll(index, fields=["epoch"], with_vectors=True)
        by_id = {point.id: point.vector / np.linalg.norm(point.vector) for point in points}
        assert len(page) == 5
        for item in page:
            assert item.payload == {"epoch": 1}
            assert item.vector.dtype == np.float32
            assert item.vector / np.linalg.norm(item.vector) == pytest.approx(by_id[item.id], abs=1e-4)
        assert all(item.vector is None for item in store.scroll(index)[0])

    def test_counting_takes_a_filter(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(n, epoch=n % 3) for n in range(9)])
        assert store.count(index, {"must": [{"key": "epoch", "match": {"value": 1}}]}) == 3
        assert store.count(index, {}) == 9

    def test_a_filter_that_can_not_be_read_is_refused_naming_the_part(self, store: Any, index: str) -> None:
        for wrong, named in (
            ({"must": [{"key": "epoch", "match": {"vlaue": 1}}]}, "vlaue"),
            ({"musst": []}, "musst"),
            ({"must": [{"key": "epoch"}]}, r"must\[0\]"),
        ):
            with pytest.raises(UsageError, match=named):
                store.count(index, wrong)

    # -- searching ---------------------------------------------------------------------------------------------------

    def test_an_alias_finds_the_index(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(1)])
        alias = f"alias-{uuid.uuid4().hex[:8]}"
        store.point_alias(alias, index)
        if "alias" in store.capabilities:
            assert store.count(alias) == 1

    def test_optimizing_keeps_every_point(self, store: Any, index: str) -> None:
        store.insert(index, [make_point(n) for n in range(30)])
        store.optimize(index)
        assert store.count(index) == 30

    # -- threads -----------------------------------------------------------------------------------------------------

    def test_threads_may_write_and_search_at_once(self, store: Any, index: str) -> None:
        failures: list[BaseException] = []

        def work(thread: int) -> None:
            try:
                for step in range(5):
                    numbers = range(thread * 100 + step * 10, thread * 100 + step * 10 + 10)
                    store.insert(index, [make_point(n, document_id=thread) for n in numbers])
                    store.search(index, [SearchRequest(vector=make_point(1).vector, limit=3)])
                    store.delete(index, ids=[point_id(numbers[0])])
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert store.count(index) == 4 * 5 * 9

    def test_what_can_not_be_stored_is_the_documents_fault(self, store: Any, index: str) -> None:
        vector = np.full(DIMENSION, np.nan, dtype=np.float32)
        with pytest.raises(PermanentError):
            store.insert(index, [Point(id=point_id(1), vector=vector, sparse_text="", payload={})])
