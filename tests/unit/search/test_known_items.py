"""Queries made of a collection's own words: whole sentences and titles that occur once, the same for the same seed."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantik_pipeline.documents import SearchHit
from semantik_pipeline.ledger.documents.passages import Passage
from semantik_pipeline.search.evaluation.known_items import FOUND, known_items
from semantik_pipeline.search.evaluation.sampling import drawn, only_unique, sentences_of, title_of

WORDS = [
    "lease",
    "queue",
    "worker",
    "ledger",
    "broker",
    "vector",
    "chunk",
    "index",
    "epoch",
    "store",
    "search",
    "batch",
    "model",
    "token",
    "stage",
]


def passage(text, document="d1", *, title=None, path=None, start=0):
    return Passage(document=document, title=title, path=path, text=text, start=start)


def sentence(seed, words=8):
    return " ".join(random.Random(seed).choices(WORDS, k=words)).capitalize() + "."


def library(documents=30, sentences=4):
    """Documents of two passages each, with titles of their own; all sentences differ."""
    found = []
    for number in range(documents):
        own = [sentence(f"{number}-{place}") for place in range(sentences)]
        first, second = " ".join(own[: sentences // 2]), " ".join(own[sentences // 2 :])
        about = {"document": f"d{number}", "title": f"About {WORDS[number % 15]} number {number}", "path": None}
        found += [Passage(text=first, start=0, **about), Passage(text=second, start=len(first) + 1, **about)]
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("of the first lease ends. The second lease is never given to anybody else. And then the",
         ["The second lease is never given to anybody else."]),
        ("Who holds a lease may work on the unit? Everybody else has to wait\nuntil it ends! Short.",
         ["Who holds a lease may work on the unit?", "Everybody else has to wait until it ends!"]),
        ("| lease | 15 | 4.0 | 17 | 22 | 0.5 | 11 | 40 | 90 | 12.", []),
        ("    x = foo(bar[1]) + baz{2} <= 3 != q%d && (w-1)/2 == 7 ** 3.", []),
        ("Ein Satz über Größe und Übermaß, der in voller Länge dasteht.",
         ["Ein Satz über Größe und Übermaß, der in voller Länge dasteht."]),
        ("租约到期后其他工作者可以继续处理该文档。短句。", ["租约到期后其他工作者可以继续处理该文档。"]),
        ("", []),
    ],
)  # fmt: skip
def test_whole_sentences_of_prose_are_taken(text, expected):
    assert [item.text for item in sentences_of(passage(text))] == expected


@given(st.text(alphabet="aB. !\n?。é", max_size=200), st.integers(0, 1000))
def test_a_sentence_stands_where_it_says(text, start):
    for item in sentences_of(passage(text, start=start)):
        assert " ".join(text[item.start - start : item.end - start].split()) == item.text


def test_a_title_that_is_the_file_s_name_asks_for_nothing():
    assert title_of(passage("…", title="release notes", path="/n/release notes.md")) is None
    assert title_of(passage("…", title="release notes.md", path="/n/release notes.md")) is None
    assert title_of(passage("…", title="Leases")) is None
    assert title_of(passage("…", title=" How leases\n end ")).text == "How leases end"


def test_the_draw_is_that_of_the_seed_and_of_no_order():
    passages = library()
    documents = sorted({one.document for one in passages}, reverse=True)
    otherwise = [one for document in documents for one in passages if one.document == document]
    first = known_items(lambda: passages, count=20, seed=1)
    assert known_items(lambda: otherwise, count=20, seed=1).fingerprint == first.fingerprint
    assert known_items(lambda: passages, count=20, seed=2).fingerprint != first.fingerprint


def test_half_are_titles_and_documents_take_turns():
    found = known_items(library, count=40, seed=1)
    assert {kind: len(ids) for kind, ids in found.parts.items()} == {"titles": 20, "sentences": 20}
    of_sentences = [item.document for item in found.items.values() if item.kind == "sentence"]
    assert len(set(of_sentences)) == 20


def test_where_there_are_few_of_one_kind_there_are_more_of_the_other():
    untitled = [replace(one, title=None) for one in library(documents=5)]
    found = known_items(lambda: untitled, count=40, seed=1)
    assert {kind: len(ids) for kind, ids in found.parts.items()} == {"sentences": 20}
    assert known_items(list, count=40, seed=1).judged == []


def test_a_document_more_changes_little():
    before = known_items(library, count=20, seed=1)
    more = [*library(), *(replace(one, document="new", title="About something new") for one in library(1))]
    after = known_items(lambda: more, count=20, seed=1)
    assert len(set(before.judged) & set(after.judged)) >= 16


def test_what_is_at_two_places_is_no_query():
    same = "This sentence stands in every document of the folder."
    passages = [passage(same, f"d{number}", title="The same title") for number in range(3)]
    assert drawn(passages, 10, 1)
    assert only_unique(drawn(passages, 10, 1), passages) == []
    assert known_items(lambda: passages, count=10, seed=1).judged == []
    twice = [passage(f"{same} {sentence(1)} {same}")]
    assert [item.text for item in known_items(lambda: twice, count=10, seed=1).items.values()] == [sentence(1)]


def test_a_sentence_in_the_overlap_of_two_chunks_is_at_one_place():
    text = f"{sentence(1)} {sentence(2)} {sentence(3)}"
    middle = text.index(sentence(2))
    chunks = [passage(text[: middle + len(sentence(2))]), passage(text[middle:], start=middle)]
    found = known_items(lambda: chunks, count=10, seed=1)
    assert sorted(item.text for item in found.items.values()) == sorted(sentence(n) for n in (1, 2, 3))


@given(st.integers(1, 12), st.integers(0, 3))
@settings(deadline=None, max_examples=20)
def test_there_are_never_more_than_asked_for(count, seed):
    found = known_items(lambda: library(8), count=count, seed=seed)
    assert len(found.judged) == count
    assert set(found.qrels) == set(found.queries) == set(found.items)


def hit(document, start, end):
    return SearchHit(
        rank=1, score=1.0, document=document, title=None, text="", start=start, end=end, metadata={}, scores={}
    )


def test_a_sentence_is_met_by_the_passage_that_holds_it_and_a_title_by_its_document():
    text = f"{sentence(1)} {sentence(2)}"
    found = known_items(lambda: [passage(text, title="A title of words")], count=3, seed=1)
    by_text = {item.text: id for id, item in found.items.items()}
    second, title = by_text[sentence(2)], by_text["A title of words"]
    at = text.index(sentence(2))
    assert found.identify(second, hit("d1", at, len(text))) == FOUND
    assert found.identify(second, hit("d1", 0, at)) != FOUND
    assert found.identify(second, hit("d2", at, len(text))) != FOUND
    assert found.identify(title, hit("d1", 0, at)) in found.qrels[title]
    assert found.identify(title, hit("d2", 0, at)) not in found.qrels[title]


def test_ids_hold_no_words():
    found = known_items(library, count=10, seed=1)
    assert all(len(id) == 16 and set(id) <= set("0123456789abcdef") for id in found.judged)
