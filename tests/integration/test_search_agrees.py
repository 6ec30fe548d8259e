"""Filters, facets, groups, marks and permissions of whole searches agree with a reference that looks at every chunk, on
both stores."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semantik_pipeline import push
from semantik_pipeline.contracts.filter_meaning import matches, values_at
from semantik_pipeline.contracts.filters import parse_filter
from semantik_pipeline.push import Given
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from tests.integration.conftest import FAKE_COLLECTION, Pipeline

DOCUMENTS = 24
TEAMS, NAMES = ("it", "hr", "Legal dept"), ("anna", "ben", "carla")
VERSIONS, MAILS = ("1.2.3", "2.0.1"), ("x@example.org", "y@example.org")
PEOPLE, COMPANIES = ("Ada Lovelace", "Ben Franklin"), ("Acme", "Bell Labs")

#: What a paragraph goes on with, by the language of its document; the last one is no language.
REST = {
    "en": "people often walk along this quiet river before breakfast, because their old friends from school would wait "
    "there with fresh bread, hot coffee and many good stories about yesterday",
    "de": "manchmal gehen wir gemeinsam durch den dunklen Wald, weil unsere alten Freunde dort schon seit Stunden auf "
    "uns warten und frisches Brot mit gutem Käse mitgebracht haben, wie gestern",
    "fr": "parfois nous marchons ensemble dans cette grande forêt sombre, parce que nos vieux amis nous attendent "
    "depuis longtemps avec du pain frais, du fromage et beaucoup de belles histoires",
    None: "7 " * 28,
}

#: A few of the same word; and which of them are the same by the rules of a language (None: by English ones).
FORMS = ("lease", "leases", "Leasing")
SAME = {"en": ({"lease", "leases", "leasing"},), None: ({"lease", "leases", "leasing"},)}
SAME |= dict.fromkeys(("de", "fr"), ({"lease", "leases"}, {"leasing"}))


def collection(ner: str) -> dict[str, Any]:
    """All that can be extracted without a trained model."""
    keywords = {"plugin": "keywords", "options": {"top": 4, "max_words": 1}}
    names = {"plugin": "spacy-ner", "options": {"model": ner}}
    language = {"plugin": "language", "options": {"languages": ["en", "de", "fr"]}}
    return {
        **FAKE_COLLECTION,
        "extraction": {
            "enabled": True,
            "chunk": [{"plugin": "patterns", "options": {}}, names, keywords],
            "document": [language],
        },
    }


@pytest.fixture(scope="session")
def ner(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a spaCy pipeline that knows these people and companies, and no others."""
    import spacy

    nlp = spacy.blank("en")
    known = [("PERSON", name) for name in PEOPLE] + [("ORG", name) for name in COMPANIES]
    nlp.add_pipe("entity_ruler").add_patterns([{"label": label, "pattern": name} for label, name in known])
    folder = tmp_path_factory.mktemp("ner")
    nlp.to_disk(folder)
    return str(folder)


def language_of(number: int) -> str | None:
    return tuple(REST)[number % len(REST)]


def corpus() -> list[Given]:
    """Documents of some chunks whose fields take few values, so that filters meet some of them."""
    draw = random.Random(5)
    made = []
    for number in range(DOCUMENTS):
        paragraphs = [
            f"{draw.choice(FORMS)} {draw.choice(('alpha', 'beta'))} version {draw.choice(VERSIONS)} "
            f"{draw.choice(MAILS)} {draw.choice((*PEOPLE, ''))} {draw.choice((*COMPANIES, ''))} "
            f"{REST[language_of(number)]}"
            for _ in range(draw.randint(1, 3 if language_of(number) else 2))
        ]
        metadata: dict[str, Any] = {
            "team": draw.choice(TEAMS),
            "year": draw.choice((2019, 2024)),
            "odd key": number % 2,
        }
        if draw.random() < 0.5:
            metadata["modified"] = f"202{draw.randint(0, 4)}-0{draw.randint(1, 9)}-01T12:00:00+02:00"
        if draw.random() < 0.5:
            metadata["rows"] = [{"a": draw.randint(0, 2), "b": draw.choice("xy")} for _ in range(draw.randint(0, 2))]
        principals = draw.choice((None, None, [], ["anna"], ["ben", "carla"]))
        made.append(
            Given(
                unique_id=f"doc/{number:02}",
                content="\n\n".join(paragraphs),
                file_name=f"{number}.{draw.choice(('txt', 'md'))}",
                metadata=metadata,
                principals=principals,
            )
        )
    return made


@pytest.fixture(params=["qdrant-edge", "qdrant"])
def searched(request: pytest.FixtureRequest, make_pipeline: Callable[..., Pipeline], ner: str) -> Iterator[Pipeline]:
    """A pipeline with the corpus in the embedded store, or in a server's double."""
    double = QdrantDouble().start() if request.param == "qdrant" else None
    pipeline = make_pipeline(**({"qdrant": {"url": double.url}} if double else {}))
    pipeline.runtime.collection("default", collection(ner))
    push.push(pipeline.runtime, corpus(), collection="default")
    pipeline.run()
    yield pipeline
    if double:
        double.stop()


KEYS = {
    "metadata.team": st.sampled_from([*TEAMS, "none"]),
    "metadata.year": st.sampled_from([2019, 2024, 7]),
    "metadata.rows[].a": st.integers(0, 3),
    '"metadata"."odd key"': st.integers(0, 1),
    "media_type": st.sampled_from(["text/plain", "text/markdown", "x/y"]),
    "document": st.sampled_from(["doc/03", "doc/11", "nope"]),
    "entities.VERSION": st.sampled_from([*VERSIONS, "9"]),
    "entities.EMAIL": st.sampled_from([*MAILS, "z@example.org"]),
    "entities.PERSON": st.sampled_from([*PEOPLE, "Nobody"]),
    "entities.ORG": st.sampled_from([*COMPANIES, "None Ltd"]),
    "entity_types": st.sampled_from(["VERSION", "EMAIL", "PERSON", "ORG", "GPE"]),
    "language": st.sampled_from(["en", "de", "fr", "it"]),
    "keywords": st.sampled_from(["Lovelace", "Acme", "Leasing", "Wald", "nothing"]),
    "source_type": st.sampled_from(["push", "git"]),
    "ordinal": st.integers(0, 2),
}
DATES = st.sampled_from(["2020-06-01", "2022-01-01T00:00:00Z", "2023-03-01T10:00:00+02:00", "2099-01-01"])
BOUND = st.sampled_from(["gt", "gte", "lt", "lte"])


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.integers(0, 4))
    if kind == 0:
        key = draw(st.sampled_from(["modified", "created", "indexed", "metadata.modified"]))
        return {"key": key, "range": {draw(BOUND): draw(DATES)}}
    if kind == 1:
        key = draw(st.sampled_from(["size", "metadata.year", "ordinal", "token_count"]))
        return {"key": key, "range": {draw(BOUND): draw(st.sampled_from([0, 1, 40, 250, 600, 2020]))}}
    if kind == 2:
        key = draw(st.sampled_from([*KEYS, "page", "metadata.rows"]))
        return draw(st.sampled_from([{"is_empty": {"key": key}}, {"key": key, "values_count": {"gte": 2}}]))
    key = draw(st.sampled_from(sorted(KEYS)))
    if kind == 3:
        values = draw(st.lists(KEYS[key], min_size=1, max_size=2))
        return {"key": key, "match": {draw(st.sampled_from(["any", "except"])): values}}
    return {"key": key, "match": {"value": draw(KEYS[key])}}


def clauses(of: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    some = st.lists(of, min_size=1, max_size=2)
    return st.fixed_dictionaries({}, optional={"must": some, "should": some, "must_not": some})


filters = clauses(st.recursive(conditions(), lambda inner: clauses(inner).filter(bool), max_leaves=3))
callers = st.one_of(st.none(), st.sets(st.sampled_from([*NAMES, "dora"]), max_size=2))
facets = st.lists(
    st.sampled_from([*KEYS, "size", "metadata.rows[].b", "metadata.rows", "principals"]),
    max_size=4,
    unique=True,
)


#: Words of queries, which no title has.
texts = st.sampled_from(["lease", "leasing", "alpha", "beta leases", "ALPHA beta", "alpha zebra", "the version"])


def places(query: str, chunk: Any) -> list[tuple[int, int, str]]:
    """The reference for highlights: places of the query's words in a chunk's text, and the word at each place.

    A word counts in any form of the document's language.
    """
    told, same = [], SAME[chunk.get("language")]
    for place in re.finditer(r"[A-Za-z0-9]+", chunk["text"]):
        for word in query.lower().split():
            forms = next((some for some in same if word in some), {word})
            if word != "the" and place.group().lower() in forms:
                told.append((place.start(), place.end(), word))
    return told


def matched(query: str, chunk: Any) -> bool:
    """The reference of the BM25 leg: a query is asked by the rules of every language. So "leasing", whose English stem
    is what "lease" and "leases" have in German and French too, finds all of these forms in every language."""
    any_form = "leasing" in query.lower().split() and re.search("|".join(FORMS), chunk["text"], re.IGNORECASE)
    return bool(any_form or places(query, chunk))


def grouped(hits: list[Any], k: int, score: str) -> list[tuple[str, float, list[int]]]:
    """The reference of groups: documents, the best first, each with the ordinals of its best ``k`` chunks."""
    of: dict[str, list[Any]] = {}
    for hit in hits:
        of.setdefault(hit.document, []).append(hit)
    scores = {}
    for name, mine in of.items():
        best, *others = [hit.score for hit in mine]
        open_still, share = 1 - best, 0.5
        for other in others:
            open_still, share = open_still * (1 - share * max(0.0, (other - 0.5) / 0.5)), share * 0.8
        several = 1 - open_still
        scores[name] = several if score == "several" else best
    ranked = sorted(of, key=lambda name: -scores[name])
    return [(name, scores[name], [hit.metadata["ordinal"] for hit in of[name][:k]]) for name in ranked]


def every_chunk(pipeline: Pipeline) -> list[Any]:
    runtime = pipeline.runtime
    index = runtime.existing_index(runtime.generation(1))
    page, _ = runtime.host.call(runtime.store.scroll, index, limit=1000)
    return page


def counted(chunks: list[Any], key: str) -> list[dict[str, Any]]:
    """The reference of a facet: documents by value, most frequent first, then by name."""
    having: dict[tuple[str, Any], set[str]] = {}
    for chunk in chunks:
        for value in values_at(chunk.payload, key):
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str | int | float):
                    having.setdefault((type(one).__name__, one), set()).add(chunk.payload["document"])
    ordered = sorted(having.items(), key=lambda one: (-len(one[1]), str(one[0][1])))
    return [{"value": value, "count": len(documents)} for (_, value), documents in ordered]


def test_hits_and_facets_are_those_of_the_chunks_that_meet_the_filter_and_are_open(searched: Pipeline) -> None:
    chunks = every_chunk(searched)
    assert len(chunks) > DOCUMENTS
    open_to = {one.unique_id: one.principals for one in corpus()}
    examples = 60 if searched.runtime.settings.qdrant.url is None else 25

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(filters, callers, facets, st.sampled_from(["hybrid", "dense", "sparse"]), texts)
    def agrees(filter: dict[str, Any], caller: set[str] | None, keys: list[str], mode: Any, text: str) -> None:
        wanted = parse_filter(filter)
        asked_whose = "principals" in keys
        keys = [key for key in keys if key != "principals" or caller is None]

        def may(chunk: Any) -> bool:
            names = open_to[chunk.payload["document"]]
            return caller is None or names is None or bool(caller & set(names))

        met = [chunk for chunk in chunks if may(chunk) and matches(wanted, chunk.id, chunk.payload)]
        if mode == "sparse":
            met = [chunk for chunk in met if matched(text, chunk.payload)]
        asked = SearchQuery(
            text=text, mode=mode, limit=1000, rerank=False, filter=filter, principals=caller,
            facets=tuple(keys), facet_limit=1000, **PLAIN,
        )  # fmt: skip
        answer = search(searched.runtime, asked)
        expected = sorted((chunk.payload["document"], chunk.payload["ordinal"]) for chunk in met)
        assert sorted((hit.document, hit.metadata["ordinal"]) for hit in answer.hits) == expected
        assert answer.facets == {key: counted(met, key) for key in keys}, asked_whose

    agrees()


def test_groups_pages_and_marks_are_those_of_the_whole_list(searched: Pipeline) -> None:
    examples = 25 if searched.runtime.settings.qdrant.url is None else 12

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        filters, callers, texts, st.sampled_from(["hybrid", "dense", "sparse"]),
        st.integers(1, 3), st.sampled_from(["several", "best"]), st.integers(5, 30),
    )  # fmt: skip
    def agrees(filter: dict[str, Any], caller: Any, text: str, mode: Any, k: int, score: str, size: int) -> None:
        asked = {"text": text, "mode": mode, "filter": filter, "principals": caller, "rerank": False, **PLAIN}
        whole = search(searched.runtime, SearchQuery(limit=1000, **asked)).hits
        assert all(hit.highlights == [] and hit.passage is None and hit.grouped_hits == [] for hit in whole)
        asked["postprocessors"] = ({"plugin": "group", "options": {"k": k, "score": score}}, "highlight")
        found: list[Any] = []
        page: list[Any] = [None]
        while page:
            page = search(searched.runtime, SearchQuery(limit=size, offset=len(found), **asked)).hits
            assert len(page) <= size
            found += page
        assert [hit.rank for hit in found] == list(range(1, len(found) + 1))
        expected = grouped(whole, k, score)
        told = [(hit.document, [one.metadata["ordinal"] for one in (hit, *hit.grouped_hits)]) for hit in found]
        assert told == [(name, ordinals) for name, _, ordinals in expected]
        assert [hit.score for hit in found] == pytest.approx([of for _, of, _ in expected])
        for one in (one for hit in found for one in (hit, *hit.grouped_hits)):
            marks = places(text, {**one.metadata, "text": one.text})
            assert [(mark.start, mark.end, mark.term) for mark in one.highlights] == marks
            assert (one.passage is None) == (not marks)

    agrees()


#: Fields of a query that leave all hits as they are.
PLAIN: dict[str, Any] = {"postprocessors": (), "interpret": False}


def test_points_carry_size_and_times_as_filters_compare_them(searched: Pipeline) -> None:
    given_ = {one.unique_id: one for one in corpus()}
    for chunk in every_chunk(searched):
        payload, document = chunk.payload, given_[chunk.payload["document"]]
        assert payload["size"] == len(str(document.content).encode())
        times = {name: datetime.fromisoformat(payload[name]) for name in ("created", "modified", "indexed")}
        assert all(payload[name].endswith("Z") for name in times)
        assert times["created"] <= times["indexed"]
        said = document.metadata.get("modified")
        assert times["modified"] == (datetime.fromisoformat(said) if said else times["created"])


def test_companies_and_languages_of_what_a_query_matches_are_counted(searched: Pipeline) -> None:
    """The example of the documentation, `facets=["entities.ORG", "language"]`, against the texts as they were given."""
    given = {one.unique_id: (language_of(number), str(one.content)) for number, one in enumerate(corpus())}

    def counts(of: Callable[[str | None, str], Collection[str | None]]) -> list[dict[str, Any]]:
        found = Counter(value for language, text in given.values() for value in of(language, text) if value)
        return [
            {"value": value, "count": count}
            for value, count in sorted(found.items(), key=lambda one: (-one[1], one[0]))
        ]

    asked = SearchQuery(text="lease", mode="hybrid", rerank=False, facets=("entities.ORG", "language"), limit=3)
    answer = search(searched.runtime, asked)
    assert answer.facets == {
        "entities.ORG": counts(lambda _, text: [name for name in COMPANIES if name in text]),
        "language": counts(lambda language, _: [language]),
    }
    assert [len(values) for values in answer.facets.values()] == [2, 3] and answer.warnings == []


def test_points_carry_what_was_extracted(searched: Pipeline) -> None:
    """So that filters and facets above have something to be compared over."""
    languages = {one.unique_id: language_of(number) for number, one in enumerate(corpus())}
    values: dict[str, set[str]] = {}
    for chunk in every_chunk(searched):
        payload = chunk.payload
        for label, known in (("PERSON", PEOPLE), ("ORG", COMPANIES), ("VERSION", VERSIONS), ("EMAIL", MAILS)):
            named = [name for name in known if name in payload["text"]]
            assert payload["entities"].get(label, []) == named
            assert (label in payload["entity_types"]) == bool(named)
            values.setdefault(label, set()).update(named or ["nobody"])
        assert payload.get("language") == languages[payload["document"]]
        assert 1 <= len(payload["keywords"]) <= 4
        assert all(word.lower() in payload["text"].lower() for word in payload["keywords"])
        values.setdefault("keywords", set()).update(payload["keywords"])
    assert {key: len(found) for key, found in values.items() if key != "keywords"} == {
        "PERSON": 3,
        "ORG": 3,
        "VERSION": 2,
        "EMAIL": 2,
    }
    assert values["keywords"] >= {"Lovelace", "Acme", "Leasing", "Wald"}
