"""Facets: documents counted by value, over what the query matches and the caller may see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.errors import UsageError
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.search.facets import MOST_KEYS, Tally, merged_facets


def facets(runtime, *keys, text="lease expiry", **options):
    return search(runtime, SearchQuery(text=text, facets=keys, rerank=False, **options)).facets


def values(counts):
    return [(one["value"], one["count"]) for one in counts]


def test_a_document_counts_once_for_a_value_however_many_of_its_chunks_have_it(runtime):
    for _ in range(3):
        runtime.add("lease expiry", document_id=1, language="en", entities={"ORG": ["Acme", "Bell"]})
    runtime.add("lease renewal", document_id=2, language="en", entities={"ORG": ["Bell"]})
    runtime.add("zebra", document_id=3, language="de")
    found = facets(runtime, "language", "entities.ORG")
    assert values(found["language"]) == [("en", 2), ("de", 1)]
    assert values(found["entities.ORG"]) == [("Bell", 2), ("Acme", 1)]


def test_what_only_a_leg_that_was_not_asked_would_find_does_not_count(runtime):
    runtime.add("lease expiry", language="en")
    runtime.add("zebra", language="de")
    assert values(facets(runtime, "language", mode="sparse")["language"]) == [("en", 1)]


def test_the_filter_and_the_ledger_limit_what_counts(runtime):
    runtime.add("lease", kind="a", language="en")
    runtime.add("lease", kind="b", language="en")
    runtime.add("lease", kind="a", language="de", indexed=False)
    runtime.add("lease", document_id=70, kind="a", language="fr", epoch=1)
    runtime.ledger.epochs[70] = 2
    only = {"must": [{"key": "kind", "match": {"value": "a"}}]}
    assert values(facets(runtime, "language", filter=only)["language"]) == [("en", 1)]


def asked(runtime, **options):
    answer = search(runtime, SearchQuery(text="lease expiry", facets=("language",), rerank=False, **options))
    return sum(one["count"] for one in answer.facets["language"]), answer.warnings


def test_by_words_alone_all_that_has_one_counts(runtime):
    for number in range(230):
        runtime.add(f"lease {number}", language=("en", "de")[number % 2])
    runtime.add("zebra", language="fr")
    assert asked(runtime, mode="sparse") == (230, [])
    assert asked(runtime, mode="sparse", offset=210) == (230, [])
    only = {"must": [{"key": "language", "match": {"value": "de"}}]}
    assert asked(runtime, mode="sparse", filter=only) == (115, [])


def test_by_words_alone_there_is_an_end_too(runtime, monkeypatch):
    monkeypatch.setattr("semantik_pipeline.search.facets.MOST_POINTS", 210)
    for _ in range(230):
        runtime.add("lease", language="en")
    told = "facets count the documents of the best 210 chunks that BM25 finds; there may be more"
    assert asked(runtime, mode="sparse") == (210, [told])


@pytest.mark.parametrize("mode", ["hybrid", "dense"])
def test_a_leg_that_is_not_read_to_its_end_is_said(runtime, mode):
    for _ in range(199):
        runtime.add("lease", language="en")
    assert asked(runtime, mode=mode) == (199, [])
    for _ in range(20):
        runtime.add("expiry", language="de")
    counted, warnings = asked(runtime, mode=mode)
    assert counted >= 200
    assert warnings == ["facets count the documents of the best 200 chunks of each leg; there may be more"]
    assert search(runtime, SearchQuery(text="lease", mode=mode, rerank=False)).warnings == []


def test_the_page_does_not_matter(runtime):
    for number in range(30):
        runtime.add(f"lease {number}", language=("en", "de")[number % 2])
    whole = facets(runtime, "language", limit=30)
    assert values(whole["language"]) == [("de", 15), ("en", 15)]
    assert whole == facets(runtime, "language", limit=1) == facets(runtime, "language", limit=2, offset=20)


def test_values_are_told_apart_by_their_kind_and_objects_are_none(runtime):
    for value in (1, "1", True, 1.5, None, {"a": 1}, [], ["x", 1, {"b": 2}]):
        runtime.add("lease", field=value)
    found = facets(runtime, "field")["field"]
    assert sorted((str(type(one["value"])), str(one["value"]), one["count"]) for one in found) == [
        ("<class 'bool'>", "True", 1),
        ("<class 'float'>", "1.5", 1),
        ("<class 'int'>", "1", 2),
        ("<class 'str'>", "1", 1),
        ("<class 'str'>", "x", 1),
    ]


def test_the_most_frequent_are_told_and_a_field_that_nothing_has_is_empty(runtime):
    for number in range(12):
        runtime.add("lease", letter="abcdefghijkl"[number], common="x")
    assert [one["value"] for one in facets(runtime, "letter", facet_limit=3)["letter"]] == ["a", "b", "c"]
    assert facets(runtime, "nothing", "common") == {"nothing": [], "common": [{"value": "x", "count": 12}]}


def test_paths_lead_into_objects_and_lists(runtime):
    runtime.add("lease", metadata={"team": {"name": "it"}}, rows=[{"k": 1}, {"k": 2}])
    found = facets(runtime, "metadata.team.name", "rows[].k", '"metadata".team.name')
    assert {key: values(counts) for key, counts in found.items()} == {
        "metadata.team.name": [("it", 1)],
        "rows[].k": [(1, 1), (2, 1)],
        '"metadata".team.name': [("it", 1)],
    }


def test_a_search_that_asks_for_none_has_none(runtime):
    runtime.add("lease", language="en")
    answer = search(runtime, SearchQuery(text="lease", rerank=False))
    assert answer.facets == {}
    assert "facets" not in answer.timings_ms


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"facets": ("no key",)}, "no key"),
        ({"facets": ("",)}, "facet"),
        ({"facets": tuple(f"k{n}" for n in range(MOST_KEYS + 1))}, str(MOST_KEYS)),
        ({"facets": ("a",), "facet_limit": 0}, "facet_limit"),
        ({"facets": ("principals",), "principals": ("anna",)}, "principals"),
        ({"facets": ('"principals"[]',), "principals": ()}, "principals"),
    ],
)
def test_what_can_not_be_counted_is_refused(runtime, asked, named):
    with pytest.raises(UsageError, match=named):
        search(runtime, SearchQuery(text="lease", **asked))


chunks = st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["a", "b", ["a", "c"], 1, True, None])), max_size=20)


@given(chunks, chunks, st.integers(1, 4))
def test_counts_of_collections_add_up_as_if_they_were_one(some, others, limit):
    """Whose documents are not those of the other, and however few values are told of."""
    one, other, both = Tally(["k"]), Tally(["k"]), Tally(["k"])
    for tally, given_, shift in ((one, some, 0), (other, others, 100)):
        for document_id, value in given_:
            payload = {"document_id": document_id + shift, "k": value}
            tally.add(payload)
            both.add(payload)
    assert merged_facets([one.counts(None), other.counts(None)], limit) == both.counts(limit)
