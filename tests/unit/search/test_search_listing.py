"""A query that says nothing but a filter lists documents: every one that has a chunk which meets it, once."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantik_pipeline.ledger.documents.content import ChunkRow
from semantik_pipeline.ledger.queue.work import Unit
from semantik_pipeline.search import SearchQuery, listing, search
from semantik_pipeline.stages.points import build_payload
from tests.unit.search.conftest import Runtime

EMAIL = {"EMAIL": ["ada@x.org"]}

#: Document, its chunk's keywords, and whether the chunk is of a revision that is not shown any more.
chunks = st.lists(st.tuples(st.integers(1, 6), st.sets(st.sampled_from("ab")), st.booleans()), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(chunks, st.integers(1, 8), st.integers(1, 3))
def test_every_document_with_such_a_chunk_is_listed_once_on_one_page(made: Any, page: int, limit: int) -> None:
    runtime, expected = Runtime(), set()
    ordinals: dict[int, int] = {}
    for document, keywords, superseded in made:
        ordinal = ordinals[document] = ordinals.get(document, -1) + 1
        told = {"keywords": sorted(keywords)} if keywords else {}
        runtime.add("text", document_id=document, ordinal=ordinal, epoch=1 if superseded else 2, **told)
        if "a" in keywords and not superseded:
            expected.add(f"doc-{document}")
    runtime.ledger.epochs = dict.fromkeys(ordinals, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "PAGE", page)
        whole = [hit.document for hit in asked(runtime, "keyword:a", limit=50).hits]
        parts = [asked(runtime, "keyword:a", limit=limit, offset=at).hits for at in range(0, len(whole), limit)]
    assert sorted(whole) == sorted(expected)
    assert [hit.document for part in parts for hit in part] == whole


def test_hits_and_facets_agree(runtime: Runtime) -> None:
    runtime.add("cover", document_id=1, ordinal=0)
    runtime.add("ada@x.org", document_id=1, ordinal=1, entities=EMAIL)
    runtime.add("other", document_id=2, ordinal=0)
    for query in ("entities.EMAIL:ada@x.org", "entities.EMAIL:ada@x.org -other"):
        answer = asked(runtime, query, facets=("document",))
        assert [hit.document for hit in answer.hits] == ["doc-1"] == [one["value"] for one in answer.facets["document"]]


@pytest.mark.parametrize(
    ("filter", "text"),
    [
        ({"must": [{"key": "page", "match": {"value": 2}}]}, "second"),
        ({"must_not": [{"should": [{"key": "section[]", "match": {"value": "One"}}]}]}, "second"),
        ({"should": [{"is_empty": {"key": "section"}}]}, "second"),
        ({"must": [{"has_id": ["00000000-0000-0000-0000-000000000001"]}]}, "second"),
        ({"must": [{"key": '"source"', "match": {"value": "s"}}, {"is_empty": {"key": "principals"}}]}, "first"),
        ({"must": [{"key": "metadata.team", "match": {"value": "it"}}]}, "first"),
    ],
)
def test_a_document_comes_with_its_first_chunk_or_one_that_is_meant(runtime: Runtime, filter: Any, text: str) -> None:
    for ordinal, one in enumerate([{"text": "first", "page": 1, "section": ["One"]}, {"text": "second", "page": 2}]):
        runtime.add(document_id=1, ordinal=ordinal, source="s", metadata={"team": "it"}, **one)
    assert [hit.text for hit in asked(runtime, "source:s", filter=filter).hits] == [text]


def test_a_documents_fields_are_the_same_in_all_of_its_chunks() -> None:
    known = dict.fromkeys((one.name for one in fields(Unit)), 1.0)
    unit = Unit(**{**known, "metadata": {"team": "it"}, "principals": ["anna"], "extracted": {"topics": ["x"]}})
    rows = [ChunkRow(**{**dict.fromkeys(ChunkRow.__dataclass_fields__, n), "metadata": {"page": n}}) for n in (1, 2)]
    one, other = (build_payload(unit, row, {"language": str(row.ordinal)}) for row in rows)
    assert {"document_id", "source", "metadata", "principals"} <= listing.OF_DOCUMENT <= one.keys()
    assert all(one[name] == other[name] for name in listing.OF_DOCUMENT)


def asked(runtime: Runtime, text: str, **told: Any) -> Any:
    return search(runtime, SearchQuery(text=text, rerank=False, **told))
