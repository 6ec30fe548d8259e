"""Dotted changes of a collection's configuration."""

from __future__ import annotations

from typing import Any

import pytest

from semantik_pipeline.configurations import changed, check, etag, parse_changes
from semantik_pipeline.errors import UsageError
from semantik_pipeline.generations import DEFAULT


def after(*pairs: str, before: dict[str, Any] | None = None) -> dict[str, Any]:
    return changed(before or DEFAULT, parse_changes(pairs))


def test_what_is_no_plugin_is_its_option() -> None:
    assert after("chunking.max_tokens=150")["chunking"] == {"plugin": "recursive", "options": {"max_tokens": 150}}
    assert after("chunking.options.max_tokens=150") == after("chunking.max_tokens=150")
    assert after('chunking.separators=["a"]')["chunking"]["options"] == {"separators": ["a"]}


def test_null_unsets_and_the_configuration_before_stays() -> None:
    before = after("chunking.max_tokens=150", "default_reranker=cross-encoder")
    again = after("chunking.max_tokens=null", "default_reranker=null", before=before)
    assert again["chunking"]["options"] == {}
    assert "default_reranker" not in again
    assert before["chunking"]["options"] == {"max_tokens": 150}
    assert DEFAULT["chunking"]["options"] == {}


def test_another_plugin_begins_without_the_options_of_the_one_before() -> None:
    before = after("chunking.max_tokens=150")
    assert after("chunking.plugin=markdown", before=before)["chunking"] == {"plugin": "markdown"}
    both = after("chunking.max_tokens=9", "chunking.plugin=markdown", before=before)
    assert both["chunking"] == {"plugin": "markdown", "options": {"max_tokens": 9}}
    assert after("chunking.plugin=recursive", before=before) == before
    assert after("chunking=markdown", before=before)["chunking"] == {"plugin": "markdown"}


def test_a_bare_model_leaves_its_plugin_to_be_found() -> None:
    assert after("embedding=some/model")["embedding"] == {"model": "some/model"}
    before = after("embedding.batch_size=8")
    assert after("embedding.model=m", before=before)["embedding"] == {"options": {"batch_size": 8}, "model": "m"}
    named = after("embedding.model=m", "embedding.plugin=fake-embedder")["embedding"]
    assert named == {"plugin": "fake-embedder", "options": {}, "model": "m"}


def test_parsers_and_extractors_are_reached_by_their_names() -> None:
    assert after("parsers.pdf.pages=3")["parsers"]["options"] == {"pdf": {"pages": 3}}
    assert after("parsers.options.pdf.pages=3") == after("parsers.pdf.pages=3")
    media = "parsers.by_media_type.application/vnd.ms-excel=unstructured"
    assert after(media)["parsers"]["by_media_type"] == {"application/vnd.ms-excel": "unstructured"}
    chunk = after("extraction.chunk.keywords.top=5", "extraction.chunk.patterns=null")["extraction"]["chunk"]
    assert chunk == [{"plugin": "keywords", "options": {"top": 5}}]
    assert after('extraction.document=["language"]')["extraction"]["document"] == [{"plugin": "language"}]
    assert after("extraction=false")["extraction"]["enabled"] is False


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ("chunkng.max_tokens=1", "chunkng"),
        ("sparse.k2=1", "sparse.k2"),
        ("sparse.k1=many", "sparse.k1"),
        ("sparse.title_weight=1.5", "sparse.title_weight"),
        ("sparse.heading_weight=-1", "sparse.heading_weight"),
        ("sparse.by_document=maybe", "sparse.by_document"),
        ("sparse.language=7", "sparse.language"),
        ("search.dense_weight=1.5", "search.dense_weight"),
        ("search.rerank_weight=NaN", "search.rerank_weight"),
        ("search.fusion=magic", "magic"),
        ("search.rerankers=one", "search.rerankers"),
        ("search.rerankers=[7]", "search.rerankers"),
        ('search.rerankers=["a", "b", "c", "d", "e"]', "at most 4 plugins"),
        ('search.rerankers=["a", {"plugin": "b"}, {"plugin": "a", "options": {"n": 1}}]', "'a' twice"),
        ('search.postprocessors=[{"plugin": "group", "k": 2}]', "search.postprocessors"),
        ("search.limit=3", "search.limit"),
        ("extraction.patterns=1", "extraction.patterns"),
        ("extraction.enabled=7", "not true or false"),
        ("extraction.chunk=7", "extraction.chunk"),
        ("chunking=7", "chunking"),
        ("chunking.options=7", "chunking.options"),
        ("default_reranker=7", "default_reranker"),
    ],
)
def test_what_means_nothing_is_refused_by_name(pair: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        after(pair)


def test_how_a_collection_is_searched_is_part_of_it() -> None:
    own = after("search.dense_weight=0.4", "search.fusion=dbsf", 'search.rerankers=["a", {"plugin": "b"}]')
    assert own["search"] == {"dense_weight": 0.4, "fusion": "dbsf", "rerankers": ["a", {"plugin": "b"}]}
    assert after("search.fusion=null", before=own)["search"].keys() == {"dense_weight", "rerankers"}
    assert "search" not in after("search=null", before=own)


def test_what_is_no_pair_is_refused() -> None:
    with pytest.raises(UsageError, match="KEY=VALUE"):
        parse_changes(["chunking"])


def test_the_defaults_are_a_configuration_and_the_etag_follows_it() -> None:
    check(DEFAULT)
    assert etag(DEFAULT) == etag(dict(reversed(DEFAULT.items())))
    assert etag(DEFAULT) != etag(after("sparse.k1=1.5"))
