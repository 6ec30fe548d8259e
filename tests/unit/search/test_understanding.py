"""What a query says: its syntax never fails, and means the same as a plain reading, on every store."""

from __future__ import annotations

import asyncio
import json
import random
import re
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semantik_pipeline.builtin.stores.qdrant_edge import QdrantEdgeStore
from semantik_pipeline.contracts.filters import parse_filter
from semantik_pipeline.documents import IndexSpec, Point
from semantik_pipeline.errors import UsageError
from semantik_pipeline.search import SearchQuery, check_search, search
from semantik_pipeline.search.understanding import confining
from semantik_pipeline.search.understanding.corrections import corrected
from semantik_pipeline.search.understanding.fields import FAMILIES, FIELDS
from semantik_pipeline.search.understanding.meaning import MOST, meaning, narrowed
from semantik_pipeline.search.understanding.syntax import read, written
from semantik_pipeline.spelling import Words, normal, words_at, words_of
from tests.contracts.test_stores import LocalQdrantStore
from tests.unit.search.conftest import LetterEmbedder

# -- syntax ------------------------------------------------------------------------------------------------------------

pieces = st.one_of(
    st.sampled_from(
        ['"', "“", "”", "„", "-", ":", " ", "a b", "source:", "-title:", "metadata.", "path:*", "after:2025"]
    ),
    st.text(max_size=8),
)
queries = st.lists(pieces, max_size=12).map("".join)


@settings(max_examples=400, deadline=None)
@given(queries)
def test_what_is_read_reads_the_same_when_it_is_written(query: str) -> None:
    parts = read(query, FIELDS, FAMILIES)
    assert read(written(parts), FIELDS, FAMILIES) == parts
    assert "".join("".join(part.raw.split()) for part in parts) == "".join(query.split())


@settings(max_examples=400, deadline=None)
@given(st.one_of(queries, st.text()))
def test_no_query_is_an_error_and_every_meaning_is_a_filter(query: str) -> None:
    understood = meaning(query)
    parse_filter(narrowed({"must": [{"key": "a", "is_empty": True}]}, understood))
    assert len(understood.phrases) + len(understood.excluded) + len(understood.filters) <= MOST


@pytest.mark.parametrize(
    "piece",
    ['"', '" ', "“ ", '"a" ', "-a", "-ab ", "a:", "title:a ", 'title:"', "\\", "((", "é", "\U0001f680", "path:* "],
)
def test_hostile_queries_take_milliseconds(piece: str) -> None:
    query = (piece * 8000)[:8000]
    start = time.process_time()
    meaning(query)
    assert time.process_time() - start < 1.0  # hours, if anything were quadratic in earnest; about 10 ms


def test_text_that_only_looks_like_syntax_stays_as_it_is() -> None:
    for text in (
        "std::vector",
        "http://example.org/a:b",
        "10:30",
        "-5 degrees",
        "--flag -v - x",
        'a 5" pipe',
        '""',
        '" "',
        '"',
        "source:",
        "source: git",
        "unknown:field",
        "C:\\temp",
        "well-known  facts",
        "path://server",
    ):
        assert meaning(text).text == text.strip()
        assert narrowed(None, meaning(text)) is None


def test_a_value_that_a_field_can_not_have_is_text_and_said() -> None:
    nobodys = "after:0001-01-01T00:00:00+05:00"  # in UTC it lies before the year 1
    for query in ("after:yesterday", "before:2025-13-01", "type:ValueError", "language:klingonish!", nobodys):
        understood = meaning(f"why {query}")
        assert understood.text == f"why {query}" and understood.filters == ()
        assert len(understood.warnings) == 1 and query in understood.warnings[0]


def test_fields_as_documented() -> None:
    understood = meaning(
        'rent "notice period" -draft -"old lease" source:git -type:pdf AFTER:2025 title:"a b" path:x/*'
    )
    assert understood.text == "rent notice period"
    assert (understood.phrases, understood.excluded) == (("notice period",), ("draft", "old lease"))
    assert [(one.field, one.value, one.excluded) for one in understood.filters] == [
        ("source", "git", False),
        ("type", "pdf", True),
        ("after", "2025", False),
        ("title", "a b", False),
        ("path", "x/*", False),
    ]
    assert {"key": "modified", "range": {"gte": "2025-01-01"}} in understood.must
    assert understood.said == ("notice period", "a b")
    assert meaning("metadata.a-b.größe:x").must[0]["key"] == 'metadata.a-b."größe"'
    assert meaning("metadata.größe..x:1").text == "metadata.größe..x:1"
    two = meaning("type:md type:pdf").must
    assert len(two) == 1 and len(two[0]["should"]) == 2  # a document has one type: either will do
    assert meaning("metadata.year:2024").must[0]["should"][1] == {"key": "metadata.year", "match": {"value": 2024}}
    assert meaning("“as phones write it”").phrases == ("as phones write it",)


# -- words -------------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=4))
def test_the_fast_way_to_words_finds_the_same(texts: list[str]) -> None:
    lowered = [text.lower() for text in texts]
    assert Words(most=5).of(texts) == set().union(*map(words_of, lowered))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_a_correction_changes_nothing_but_its_word(text: str) -> None:
    found = words_at(normal(text))
    assert corrected(text, {}) == normal(text)
    for _, _, word in found[:1]:
        changed = words_at(corrected(text, {word: "zzzz"}))
        assert [w if w != word else "zzzz" for _, _, w in found] == [w for _, _, w in changed]


def test_parts_of_identifiers_are_words_and_numbers_are_not() -> None:
    assert words_of("max_tokens x86 b2b 42 Straße e\u0301cole it's 漢字漢字 ไทยไทย") == {
        "max",
        "tokens",
        "straße",
        "école",
    }


# -- against brute force, on every store -------------------------------------------------------------------------------

WORDS = ["red", "green", "tea", "wine", "house"]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
chunk = st.fixed_dictionaries(
    {"text": texts, "title": texts, "section": st.lists(texts, max_size=2), "source": st.sampled_from(["a", "b"])}
)
asked_words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=2)
terms = st.one_of(
    st.tuples(st.just("phrase"), asked_words),
    st.tuples(st.just("without"), asked_words),
    st.tuples(st.sampled_from(["source", "-source"]), st.sampled_from(["a", "b"])),
    st.tuples(st.sampled_from(["title", "-title"]), st.sampled_from(WORDS)),
)


@pytest.fixture(scope="module", params=["memory", "edge", "client"])
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "memory":
        yield None
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        edge = request.param == "edge"
        made = QdrantEdgeStore({"path": folder}) if edge else LocalQdrantStore({"url": "http://in-this-process"})
        asyncio.run(made.initialize())
        yield made
        asyncio.run(made.cleanup())


def as_query(asked: list[tuple[str, Any]]) -> str:
    written = {"phrase": '"{}"', "without": '-"{}"'}
    return " ".join(
        written.get(kind, kind + ":{}").format(" ".join(v) if isinstance(v, list) else v) for kind, v in asked
    )


def has(chunk: dict[str, Any], phrase: list[str]) -> bool:
    fields = [chunk["text"], chunk["title"], *chunk["section"]]
    return any(re.search(rf"(^| ){' '.join(phrase)}( |$)", field) for field in fields)


def meets(chunk: dict[str, Any], asked: list[tuple[str, Any]]) -> bool:
    sources = {value for kind, value in asked if kind == "source"}
    for kind, value in asked:
        met = {
            "phrase": lambda v: has(chunk, v),
            "without": lambda v: not has(chunk, v),
            "source": lambda v: chunk["source"] in sources,
            "-source": lambda v: chunk["source"] != v,
            "title": lambda v: v in chunk["title"].split(),
            "-title": lambda v: v not in chunk["title"].split(),
        }[kind](value)
        if not met:
            return False
    return True


def put(runtime: Any, chunks: list[dict[str, Any]]) -> None:
    """Each as the only chunk of a document: BM25 reads title and headings too, as with the pipeline's own points."""
    points = []
    for number, one in enumerate(chunks, 1):
        lead = "\n".join([one["title"], *one["section"], one["text"]])
        payload = {"document_id": number, "document": f"doc-{number}", "epoch": 1, "ordinal": 0, **one}
        (vector,) = asyncio.run(LetterEmbedder().embed_texts([lead]))
        points.append(Point(id=str(uuid.UUID(int=number)), vector=vector, sparse_text=lead, payload=payload))
        runtime.ledger.epochs[number] = 1
    runtime.store.insert("default-7", points)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(chunk, min_size=1, max_size=9), st.lists(terms, min_size=1, max_size=3), st.booleans(), st.data())
def test_a_search_finds_what_a_plain_reading_finds(
    runtime_with, store, chunks: list[dict[str, Any]], asked: list[tuple[str, Any]], with_text: bool, data: Any
) -> None:
    runtime = runtime_with(store)
    put(runtime, chunks)
    query = f"{'tea ' if with_text else ''}{as_query(asked)}"
    mode = data.draw(st.sampled_from(["hybrid", "dense"]))
    answer = search(runtime, SearchQuery(text=query, limit=20, rerank=False, mode=mode))
    expected = {f"doc-{number + 1}" for number, one in enumerate(chunks) if meets(one, asked)}
    assert {hit.document for hit in answer.hits} == expected, query


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("metadata.n:5", {"5", "5.0", "'5'"}),
        ("metadata.n:5.0", {"5", "5.0"}),
        ("metadata.n:-3", {"-3", "-3.0"}),
        ("metadata.n:0", {"0", "-0.0"}),
        ("metadata.n:9007199254740993", {"9007199254740993"}),
        ("metadata.n:true", {"True"}),
    ],
)
def test_a_number_is_met_however_it_is_written(runtime_with, store, query: str, found: set[str]) -> None:
    runtime = runtime_with(store)
    values = [5, 5.0, "5", 5.5, [4, 6], -3, -3.0, 0, -0.0, True, False, None, 9007199254740992, 9007199254740993]
    put(runtime, [{"text": "tea", "title": "", "section": [], "source": "a", "metadata": {"n": one}} for one in values])
    hits = search(runtime, SearchQuery(text=query, limit=20)).hits
    assert {repr(values[int(hit.document.removeprefix("doc-")) - 1]) for hit in hits} == found


@pytest.mark.parametrize(
    "query", ["metadata.größe:5", "metadata.Maße.länge:klein", "entities.Straße:Allee", "metadata.größe.x:1"]
)
def test_names_of_other_alphabets_can_be_asked_for(runtime_with, store, query: str) -> None:
    runtime = runtime_with(store)
    of = {"metadata": {"größe": 5, "Maße": {"länge": "klein"}}, "entities": {"Straße": ["Allee"]}}
    put(runtime, [{"text": "tea", "title": "", "section": [], "source": "a", **more} for more in (of, {})])
    answer = search(runtime, SearchQuery(text=query, limit=20))
    assert answer.warnings == []
    assert [hit.document for hit in answer.hits] == ([] if query.endswith("x:1") else ["doc-1"])


@pytest.fixture
def runtime_with(runtime, monkeypatch: pytest.MonkeyPatch):
    """The runtime, empty, on that store; what confines a search is so small that it is always at work."""
    monkeypatch.setattr(confining, "DEPTH", 2)
    monkeypatch.setattr(confining, "DEEPER", 2)
    monkeypatch.setattr(confining, "WITH_WORD", (2, 4))
    monkeypatch.setattr(confining, "PAGE", 3)
    monkeypatch.setattr(confining, "AT_ONCE", 2)

    def made(store: Any) -> Any:
        if store is not None:
            runtime.store = store
        runtime.store.drop_index("default-7")
        runtime.store.create_index("default-7", IndexSpec(dimension=26))
        runtime.ledger.epochs.clear()
        return runtime

    return made


# -- searching ---------------------------------------------------------------------------------------------------------


def test_a_phrase_is_read_in_no_more_chunks_than_have_its_words(runtime) -> None:
    for number in range(30):
        runtime.add(f"common words number {number}")
    runtime.add("a rare phrase of common words")
    answer = search(runtime, SearchQuery(text='"rare phrase" common', rerank=False))
    assert [hit.document for hit in answer.hits] == ["doc-31"]
    legs = runtime.store.calls[-1][1]
    assert {len(one.filter["must"][0]["has_id"]) for one in legs} == {1}


@pytest.mark.parametrize("query", ['"lease term" letters', "lease -draft", 'title:lease "term letters" -quiz'])
@pytest.mark.parametrize("with_word", [(20, 60), (20, 10_000)])
def test_pages_of_phrases_and_exclusions_agree(runtime, monkeypatch, query: str, with_word: tuple[int, int]) -> None:
    monkeypatch.setattr(confining, "WITH_WORD", with_word)
    monkeypatch.setattr(confining, "DEPTH", 20)
    monkeypatch.setattr(confining, "AT_ONCE", 2)
    draw = random.Random(3)
    for number in range(300):
        words = ["lease", "term", "letters", *draw.choices(["draft", "quiz", "jazz", "vex", "fog"], k=number % 7)]
        draw.shuffle(words)
        runtime.add(" ".join(words), title="lease" if number % 3 else "term", document_id=number + 1)

    def asked(**page: int) -> list[tuple[str, float]]:
        answer = search(runtime, SearchQuery(text=query, rerank=False, **page))
        return [(hit.document, hit.score) for hit in answer.hits]

    whole = asked(limit=300)
    assert len(whole) > 20
    pages = [asked(limit=6, offset=offset) for offset in range(0, len(whole), 6)]
    assert [hit for page in pages for hit in page] == whole


def test_nothing_is_read_and_asked_beside_where_nothing_special_is_said(runtime) -> None:
    runtime.add("common words")
    search(runtime, SearchQuery(text="common words", rerank=False))
    assert len(runtime.store.calls) == 1
    assert [one.filter for one in runtime.store.calls[0][1]] == [None, None]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(queries, st.text(max_size=60)))
def test_no_query_that_says_something_fails(runtime_with, query: str) -> None:
    runtime = runtime_with(None)
    put(runtime, [{"text": "green tea", "title": "tea", "section": [], "source": "a"}])
    runtime.ledger.words = {"green": 1, "tea": 1}
    runtime.ledger.paths = {1: "/docs/tea.md"}
    if query.replace("\x00", " ").strip():
        answer = search(runtime, SearchQuery(text=query, rerank=False))
        assert set(answer.interpretation) == {"text", "phrases", "excluded", "filters", "corrections"}
    else:
        with pytest.raises(UsageError, match="empty"):
            search(runtime, SearchQuery(text=query, rerank=False))


def test_a_very_long_query_is_cut_and_answered(runtime) -> None:
    runtime.add("green tea")
    answer = search(runtime, SearchQuery(text='-"a b" "green tea" \U0001f680 ' * 2000, rerank=False))
    assert [hit.document for hit in answer.hits] == ["doc-1"]
    assert any("8000" in warning for warning in answer.warnings)


def test_it_survives_the_way_to_search_workers(runtime) -> None:
    from workers.remote_search import answered

    runtime.add("green tea")
    query = SearchQuery(text='"green tea" -wine', rerank=False, interpret=True)
    told = json.loads(json.dumps(answered(runtime, json.loads(json.dumps(asdict(query))))))
    assert told["answer"]["interpretation"]["phrases"] == ["green tea"]
    literal = answered(runtime, asdict(replace(query, interpret=False)))
    assert literal["answer"]["interpretation"] is None


def test_the_plan_tells_phrases(runtime) -> None:
    assert check_search(runtime, SearchQuery(text='"a phrase" -not')).phrases == ("a phrase",)
    assert check_search(runtime, SearchQuery(text='"a phrase"', interpret=False)).phrases == ()
