"""Known items are found though the rarest word of their query is mistyped: a guard over generated documents.
(``benchmarks/typos.py`` measures the same over real ones.)"""

from __future__ import annotations

import random
import string
from dataclasses import replace

from benchmarks import typos
from semantik_pipeline import vocabulary
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.search import SearchQuery, search
from tests.integration.conftest import FAKE_COLLECTION

DOCUMENTS = 60
DEPTH = 10
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]

#: Of what those who type promise: this share of what is found without errors.
KEPT = 0.9


def word(dice: random.Random) -> str:
    return "".join(dice.choices(SYLLABLES, k=dice.randint(2, 4)))


def mistyped(word: str, kind: int, dice: random.Random) -> str:
    """The word with one error anywhere: by ``kind`` a letter too many, one missing, a wrong one, two swapped."""
    at = dice.randrange(len(word) - 1)
    other = dice.choice([letter for letter in string.ascii_lowercase if letter not in word[at : at + 2]])
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return (word[:at] + other + word[at:], word[:at] + word[at + 1 :], word[:at] + other + word[at + 1 :], swapped)[
        kind
    ]


def test_known_items_are_kept_when_their_rarest_word_is_mistyped(make_pipeline) -> None:
    """Each document has a word of its own among words that many have; the query is two of those and its own."""
    dice = random.Random(14)
    common = sorted({word(dice) for _ in range(40)})
    rare = sorted({word(dice) for _ in range(3 * DOCUMENTS)} - set(common))[: 2 * DOCUMENTS : 2]
    assert len(rare) == DOCUMENTS
    texts, asked = {}, []
    for number, own in enumerate(rare):
        body = dice.choices(common, k=30)
        body.insert(dice.randrange(30), own)
        texts[f"doc/{number}"] = " ".join(body)
        around = dice.sample(sorted(set(body) - {own}), 2)
        query = [*around, own]
        dice.shuffle(query)
        wrong = mistyped(own, number % 4, dice)
        asked.append((f"doc/{number}", " ".join(query), " ".join(wrong if one == own else one for one in query)))
    pipeline = make_pipeline()
    pipeline.index(SourceRequest(connector="fake-connector", name="fake", config={"documents": texts}))
    vocabulary.advance(pipeline.runtime, seconds=10, last=True)
    plain = SearchQuery(text="", limit=DEPTH, rerank=False)

    def recall(queries: list[tuple[str, str]], **options: object) -> float:
        answers = [(name, search(pipeline.runtime, replace(plain, text=text, **options))) for name, text in queries]
        return sum(name in {hit.document for hit in answer.hits} for name, answer in answers) / len(queries)

    clean = recall([(name, right) for name, right, _ in asked])
    mistakes = [(name, wrong) for name, _, wrong in asked]
    kept, unmended = recall(mistakes) / clean, recall(mistakes, interpret=False) / clean
    assert clean >= 0.95
    assert kept >= KEPT
    assert unmended < 0.75, "without a correction much would be lost, or this proves nothing"


def test_the_benchmark_draws_no_queries_from_a_collection_without_documents(make_pipeline) -> None:
    pipeline = make_pipeline()
    pipeline.runtime.collection("empty", FAKE_COLLECTION)
    assert typos.known_items(pipeline.runtime, "empty", 10) == []
