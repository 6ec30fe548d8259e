"""Draws titles and sentences from a collection's passages. Pure; memory is bounded by the number to draw."""

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

#: The minimum and maximum of characters in a sentence. Scripts without spaces need fewer characters for the same
#: content.
SHORTEST, LONGEST = 30, 250
SHORTEST_UNSPACED = 12
#: The minimum of words in a title and in a sentence, for scripts with spaces.
TITLE_WORDS, SENTENCE_WORDS = 2, 6
#: The minimum share of letters and spaces in a sentence; with fewer, it is code, a table, or a list of figures.
LETTERS = 0.85
#: Candidates of each kind that are drawn for each query: those that are at several places are dropped.
SPARE = 3

_BREAK = re.compile(r"(?<=[.!?…])[\"')\]”’]*\s+|(?<=[。！？])|\n\s*\n")
_END = re.compile(r"[.!?…。！？][\"')\]”’]*$")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, kw_only=True)
class Item:
    """A title or sentence to search for. ``start`` and ``end`` are a sentence's offsets in its document, None for a
    title."""

    document: str
    text: str
    start: int | None = None
    end: int | None = None

    @property
    def kind(self) -> str:
        return "title" if self.start is None else "sentence"

    @property
    def id(self) -> str:
        """A hash of the text and the document, so that runs can be paired even if other documents came or went."""
        return short_hash(self.kind, self.document, self.text)[:16]

    def is_met_by(self, hit: SearchHit) -> bool:
        """Return whether the hit is a right answer: for a title any passage of its document, for a sentence a passage
        that contains its middle."""
        if hit.document != self.document or self.start is None or self.end is None:
            return hit.document == self.document
        return hit.start <= (self.start + self.end) // 2 < hit.end


def drawn(passages: Iterable[Passage], count: int, seed: int) -> list[Item]:
    """Draw SPARE × ``count`` titles and as many sentences, or fewer if there are no more; each kind in the order drawn.

    One sentence of each document is drawn before a second one of any. ``passages`` come document by document. The draw
    depends only on the seed and the texts: one more document changes little of it, and another order of documents
    nothing.
    """
    kept = SPARE * count
    titles: list[tuple[int, str, Item]] = []
    sentences: list[tuple[int, str, Item]] = []
    for _, group in groupby(passages, key=lambda passage: passage.document):
        own: dict[int, Item] = {}  # by offset: a sentence in the overlap of two chunks counts once
        for number, passage in enumerate(group):
            if number == 0 and (title := title_of(passage)) is not None:
                titles.append((0, _lot(seed, title), title))
            own.update((item.start or 0, item) for item in sentences_of(passage))
        lots = nsmallest(kept, ((_lot(seed, item), item) for item in own.values()), key=lambda pair: pair[0])
        sentences += [(turn, lot, item) for turn, (lot, item) in enumerate(lots)]
        titles, sentences = _best(titles, kept, unless=2 * kept), _best(sentences, kept, unless=2 * kept)
    return [item for lots in (titles, sentences) for _, _, item in _best(lots, kept)]


def only_unique(items: Iterable[Item], passages: Iterable[Passage]) -> list[Item]:
    """Return the items whose text is the title of one document only, or a sentence at one place only.

    Other items have several right answers.
    """
    wanted = list(items)
    places: dict[tuple[str, str], set[tuple[str, int | None]]] = {_key(item): set() for item in wanted}
    for passage in passages:
        title = title_of(passage)
        for item in (*sentences_of(passage), *([title] if title is not None else [])):
            if (there := places.get(_key(item))) is not None:
                there.add((item.document, item.start))
    return [item for item in wanted if len(places[_key(item)]) == 1]


def title_of(passage: Passage) -> Item | None:
    """Return the title of the passage's document; None if it has none, if it is only the file's name, or if it is too
    short."""
    title = _SPACE.sub(" ", passage.title or "").strip()
    path = PurePath(passage.path or passage.document)
    if title.casefold() in (path.name.casefold(), path.stem.casefold()) or not _long_enough(title, 1, TITLE_WORDS):
        return None
    return Item(document=passage.document, text=title[:LONGEST])


def sentences_of(passage: Passage) -> Iterator[Item]:
    """Yield the complete sentences of a passage; sentences that its start or end cuts are left out."""
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
    """Return the first ``kept`` by turn and lot; all of them if there are no more than ``unless``."""
    return lots if len(lots) <= unless else nsmallest(kept, lots, key=lambda lot: lot[:2])
