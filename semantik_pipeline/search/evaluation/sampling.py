"""Titles and sentences drawn from a collection's passages. Pure, and in memory that is bounded by how many are wanted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import nsmallest
from itertools import groupby
from pathlib import PurePath
from typing import TYPE_CHECKING

from semantik_pipeline.documents import SearchHit, short_hash

if TYPE_CHECKING:
    from semantik_pipeline.ledger.documents.passages import Passage

#: Characters of a sentence; of a script without spaces, fewer say as much.
SHORTEST, LONGEST = 30, 250
SHORTEST_UNSPACED = 12
#: Words of a title and of a sentence, at least, where words are told apart by spaces.
TITLE_WORDS, SENTENCE_WORDS = 2, 6
#: Letters and spaces, at least, as a share of a sentence: else it is code, a table, or a list of figures.
LETTERS = 0.85
#: Candidates of each kind for each query: some are at several places, and fall out.
SPARE = 3

_BREAK = re.compile(r"(?<=[.!?…])[\"')\]”’]*\s+|(?<=[。！？])|\n\s*\n")
_END = re.compile(r"[.!?…。！？][\"')\]”’]*$")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, kw_only=True)
class Item:
    """Something to look for. ``start`` and ``end`` are a sentence's place in its document, None for a title."""

    document: str
    text: str
    start: int | None = None
    end: int | None = None

    @property
    def kind(self) -> str:
        return "title" if self.start is None else "sentence"

    @property
    def id(self) -> str:
        """The same for the same words in the same document, so that runs can be paired though documents came or went."""
        return short_hash(self.kind, self.document, self.text)[:16]

    def is_met_by(self, hit: SearchHit) -> bool:
        """A title by any passage of its document, a sentence by one that holds its middle."""
        if hit.document != self.document or self.start is None or self.end is None:
            return hit.document == self.document
        return hit.start <= (self.start + self.end) // 2 < hit.end


def drawn(passages: Iterable[Passage], count: int, seed: int) -> list[Item]:
    """SPARE × ``count`` titles and as many sentences, or fewer where there are no more, each kind in the order of the
    draw. Of sentences, each document gives one before any gives its second.

    ``passages`` come document by document. The draw depends on the seed and the words alone: one more document changes
    little of it, and another order nothing.
    """
    kept = SPARE * count
    titles: list[tuple[int, str, Item]] = []
    sentences: list[tuple[int, str, Item]] = []
    for _, group in groupby(passages, key=lambda passage: passage.document):
        own: dict[int, Item] = {}  # a sentence in the overlap of two chunks is one
        for number, passage in enumerate(group):
            if number == 0 and (title := title_of(passage)) is not None:
                titles.append((0, _lot(seed, title), title))
            own.update((item.start or 0, item) for item in sentences_of(passage))
        lots = nsmallest(kept, ((_lot(seed, item), item) for item in own.values()), key=lambda pair: pair[0])
        sentences += [(turn, lot, item) for turn, (lot, item) in enumerate(lots)]
        titles, sentences = _best(titles, kept, unless=2 * kept), _best(sentences, kept, unless=2 * kept)
    return [item for lots in (titles, sentences) for _, _, item in _best(lots, kept)]


def only_unique(items: Iterable[Item], passages: Iterable[Passage]) -> list[Item]:
    """Those whose words are the title of one document only, or a sentence at one place only: of others, nobody can say
    which is meant."""
    wanted = list(items)
    places: dict[tuple[str, str], set[tuple[str, int | None]]] = {_key(item): set() for item in wanted}
    for passage in passages:
        title = title_of(passage)
        for item in (*sentences_of(passage), *([title] if title is not None else [])):
            if (there := places.get(_key(item))) is not None:
                there.add((item.document, item.start))
    return [item for item in wanted if len(places[_key(item)]) == 1]


def title_of(passage: Passage) -> Item | None:
    """The title of the passage's document as a query; None if it has none, or no more than its file's name."""
    title = _SPACE.sub(" ", passage.title or "").strip()
    path = PurePath(passage.path or passage.document)
    if title.casefold() in (path.name.casefold(), path.stem.casefold()) or not _long_enough(title, 1, TITLE_WORDS):
        return None
    return Item(document=passage.document, text=title[:LONGEST])


def sentences_of(passage: Passage) -> Iterator[Item]:
    """The whole sentences of a passage as queries, without those that its ends cut."""
    at = 0
    for separator in (*_BREAK.finditer(passage.text), None):
        end = separator.start() if separator else len(passage.text)
        raw = passage.text[at:end]
        text = _SPACE.sub(" ", raw).strip()
        if _is_sentence(text):
            start = passage.start + at + len(raw) - len(raw.lstrip())
            yield Item(document=passage.document, text=text, start=start, end=passage.start + end)
        at = separator.end() if separator else end


def _is_sentence(text: str) -> bool:
    if not _END.search(text) or len(text) > LONGEST or not _long_enough(text, SHORTEST, SENTENCE_WORDS):
        return False
    plain = sum(letter.isalpha() or letter.isspace() for letter in text)
    return not text[0].islower() and text[0].isalnum() and plain >= LETTERS * len(text)


def _long_enough(text: str, characters: int, words: int) -> bool:
    unspaced = text.count(" ") * SHORTEST_UNSPACED < len(text) and not text.isascii()
    return len(text) >= SHORTEST_UNSPACED if unspaced else len(text) >= characters and text.count(" ") >= words - 1


def _lot(seed: int, item: Item) -> str:
    return short_hash(str(seed), item.kind, item.document, item.text)


def _key(item: Item) -> tuple[str, str]:
    return item.kind, item.text.casefold()


def _best(lots: list[tuple[int, str, Item]], kept: int, *, unless: int = 0) -> list[tuple[int, str, Item]]:
    """The first of them by turn and lot; all, where there are no more than ``unless``."""
    return lots if len(lots) <= unless else nsmallest(kept, lots, key=lambda lot: lot[:2])
