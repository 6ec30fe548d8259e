"""Nothing of a document that is not open to a caller is in any part of an answer, whatever is asked.

Each document has words of its own, in its text, title and metadata. Whatever a caller asks, the whole answer, as JSON,
has none of those of documents that are closed to it, but what the question itself says.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from semantik_pipeline import push, vocabulary
from semantik_pipeline.errors import UsageError
from semantik_pipeline.ledger.tables import documents
from semantik_pipeline.push import Given
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.testing.qdrant_double import QdrantDouble
from tests.integration.conftest import FAKE_COLLECTION, Pipeline

NAMES = ("anna", "ben", "carla")
DOCUMENTS = 18
COLLECTION = {**FAKE_COLLECTION, "extraction": {"enabled": True, "document": []}}

#: Words like no others, each far from the next, so that a secret is found in an answer wherever it stands.
SECRETS = ["".join(random.Random(number).sample("bcdfghjklmnpqrstvwxz", 9)) for number in range(DOCUMENTS)]


def name_of(number: int) -> str:
    return f"doc-{SECRETS[number]}"


def corpus(*, closed: frozenset[int] = frozenset()) -> list[Given]:
    """Each of some chunks, open to some; ``closed`` have become so."""
    draw = random.Random(11)
    made = []
    for number, secret in enumerate(SECRETS):
        principals = draw.choice((None, None, ["anna"], ["ben"], ["ben", "carla"], []))
        paragraphs = [
            f"the lease of {draw.choice(('wine', 'a barn', 'land'))} said {secret} {part} {secret}@example.org "
            + "word " * 26
            for part in range(draw.randint(1, 4))
        ]
        made.append(
            Given(
                unique_id=name_of(number),
                content="\n\n".join(paragraphs),
                title=f"Title {secret}",
                metadata={"team": secret, "rows": [{"a": secret}], "year": 2000 + number},
                principals=[] if number in closed else principals,
            )
        )
    return made


CLOSED, DELETED = frozenset({1, 6}), 4


@pytest.fixture(params=["qdrant-edge", "qdrant"])
def searched(request: pytest.FixtureRequest, make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    """Some documents were closed, and one deleted, a moment ago: the store does not know yet."""
    double = QdrantDouble().start() if request.param == "qdrant" else None
    pipeline = make_pipeline(**({"qdrant": {"url": double.url}} if double else {}))
    pipeline.runtime.collection("default", COLLECTION)
    push.push(pipeline.runtime, corpus(), collection="default")
    pipeline.run()
    vocabulary.advance(pipeline.runtime, seconds=10, last=True)  # what corrections are made of: words of all documents
    push.push(pipeline.runtime, corpus(closed=CLOSED), collection="default")
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(documents).where(documents.c.unique_id == name_of(DELETED)).values(deleted_at=1.0))
    yield pipeline
    if double:
        double.stop()


def open_to(caller: set[str]) -> set[int]:
    found = set()
    for number, one in enumerate(corpus(closed=CLOSED)):
        if number != DELETED and (one.principals is None or caller & set(one.principals)):
            found.add(number)
    return found


def typo(word: str, at: int) -> str:
    return word[: at % len(word)] + word[at % len(word) + 1 :]


numbers = st.integers(0, DOCUMENTS - 1)
words = st.one_of(
    st.sampled_from(
        ["lease", "wine", "land", "wrod", "leese", "-wine", '"the lease"', "the", "path:doc-*", "title:Title"]
    ),
    st.builds(lambda number, at: typo(SECRETS[number], at), numbers, st.integers(0, 9)),
)
filters = st.one_of(
    st.none(),
    st.builds(lambda year: {"must": [{"key": "metadata.year", "range": {"gte": year}}]}, st.integers(2000, 2018)),
    st.builds(lambda team: {"must_not": [{"key": "metadata.team", "match": {"value": team}}]}, st.sampled_from("ab")),
    st.just({"should": [{"is_empty": {"key": "page"}}, {"key": "language", "match": {"value": "en"}}]}),
)
questions = st.fixed_dictionaries(
    {
        "text": st.lists(words, min_size=1, max_size=4).map(" ".join),
        "principals": st.sets(st.sampled_from([*NAMES, "dora"]), max_size=2),
        "mode": st.sampled_from(["hybrid", "dense", "sparse"]),
        "fusion": st.sampled_from(["minmax", "rrf", "dbsf"]),
        "filter": filters,
        "limit": st.integers(1, 12),
        "offset": st.integers(0, 4),
        "explain": st.booleans(),
        "explain_document": st.one_of(st.none(), st.builds(name_of, numbers)),
        "facets": st.sampled_from(
            [(), ("metadata.team", "title", "text"), ("entities.EMAIL", "metadata.rows[].a", "document", "document_id")]
        ),
        "rerank": st.booleans(),
        "reranker": st.just("fake-reranker"),
        "postprocessors": st.sampled_from(
            [None, (), ("highlight", "group", "neighbours"), ("dedupe", "diversity", "highlight"), ("neighbours",)]
        ),
        "interpret": st.booleans(),
    }
)


def test_no_part_of_an_answer_has_a_word_of_a_closed_document(searched: Pipeline) -> None:
    examples = 80 if searched.runtime.settings.qdrant.url is None else 30
    seen, corrected = 0, 0
    mistyped = {"text": typo(SECRETS[min(open_to(set()))], 3), "mode": "sparse", "interpret": True, "rerank": False}

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(questions)
    @example({**mistyped, "principals": set(), "explain_document": None})  # few of those that are drawn are corrected
    def closed(question: dict[str, Any]) -> None:
        nonlocal seen, corrected
        answer = search(searched.runtime, SearchQuery(**question))
        told = json.dumps(answer.to_dict(), default=str).replace(question["explain_document"] or "", "")
        mine = open_to(question["principals"])
        leaked = [number for number, secret in enumerate(SECRETS) if secret in told and number not in mine]
        assert leaked == [], told
        assert "anna" not in told and "carla" not in told, "whom documents are open to is not told"
        seen += len({hit.document for hit in answer.hits})
        corrected += sum(word in SECRETS for word in (answer.interpretation or {}).get("corrections", {}).values())

    closed()
    assert seen > examples, "what is open is found"
    assert corrected, "and its words are known"


#: Words of open documents, and of a closed one each: what lies between a word and a typing error in it.
OPEN = ["blackwood", "marlinspike", "haberdasher", "quill"]


def changed(word: str, at: int, letter: str) -> str:
    """The word with another letter, or, where ``letter`` is none, without this one."""
    return word[: at % len(word)] + letter + word[at % len(word) + 1 :]


errors = st.builds(
    lambda word, first, second: changed(changed(word, *first), *second),
    st.sampled_from(OPEN),
    *[st.tuples(st.integers(0, 10), st.sampled_from(["", "t", "zx"]))] * 2,
)


def test_corrections_are_the_same_whatever_words_closed_documents_have(searched: Pipeline) -> None:
    """Nearer ones, and more of them: who could tell the difference would know the words."""
    closed = sorted({changed(word, at, letter) for word in OPEN for at in range(len(word)) for letter in ("", "t")})
    mine = [Given(unique_id=word, content=f"something about {word}") for word in OPEN]
    theirs = [
        Given(unique_id=f"closed-{word}", content=f"about {word}", principals=["ben"]) for word in (*closed, *OPEN[1:])
    ]
    for name, given_ in (("open", mine), ("both", [*mine, *theirs])):
        searched.runtime.collection(name, COLLECTION)
        push.push(searched.runtime, given_, collection=name)
    searched.run()
    vocabulary.advance(searched.runtime, seconds=10, last=True)
    corrected: set[str] = set()

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(errors, st.sampled_from(OPEN))
    def same(typed: str, other: str) -> None:
        told = [
            search(
                searched.runtime,
                SearchQuery(text=f"{typed} {other}", collection=name, principals={"anna"}, mode="sparse", rerank=False),
            ).interpretation
            for name in ("open", "both")
        ]
        assert told[0] == told[1]
        corrected.update(told[0]["corrections"].values())

    same()
    assert len(corrected) > 1


def test_a_closed_document_can_not_be_asked_about(searched: Pipeline) -> None:
    """By its name, its words or its metadata: the answer is that to a name that there is not."""
    for caller in (set(), {"anna"}, {"ben"}, {"dora", "carla"}):
        mine = open_to(caller)
        for number in range(DOCUMENTS):
            told = [absent(searched, name, caller) for name in (name_of(number), "doc-none")]
            if number in mine:
                assert told[0]["cause"] != "not-found"
            elif number != DELETED:
                assert json.dumps(told[1]).replace("doc-none", name_of(number)) == json.dumps(told[0])
    with pytest.raises(UsageError, match="principals"):
        search(searched.runtime, SearchQuery(text="lease", facets=("principals",), principals={"anna"}))


def absent(pipeline: Pipeline, name: str, caller: set[str]) -> dict[str, Any]:
    answer = search(
        pipeline.runtime,
        SearchQuery(text="lease", explain_document=name, principals=caller, rerank=False, limit=2),
    )
    assert answer.document_explanation is not None
    return answer.document_explanation


def test_the_premise_that_some_are_closed_and_some_are_not(searched: Pipeline) -> None:
    with searched.runtime.ledger.read() as tx:
        assert len(list(tx.execute(select(documents.c.id)))) == DOCUMENTS
    assert 3 < len(open_to({"anna"})) < DOCUMENTS - 4
    assert open_to(set()) < open_to({"ben"})
