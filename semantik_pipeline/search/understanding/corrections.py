"""Typing errors: a word of the query that nothing has, and that resembles one that something has.

Nothing leaks: a caller who may not see everything gets no correction that it could not read in a document of its own, and
whether a word is taken for an error is decided by those documents alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from semantik_pipeline.search.understanding.presence import Presence
from semantik_pipeline.spelling import normal, words_at, words_of

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime

#: Letters of a word that is corrected, at least; and of one in which two errors are looked for.
SHORTEST, LONG = 4, 8

#: Different words of a query that is looked at: a longer one is understood without any single one of them.
MOST_WORDS = 48

#: Unknown words of a query that are looked at, those of them that are corrected, and candidates of each that are tried.
MOST_UNKNOWN, MOST_ERRORS, MOST_TRIED = 8, 4, 8

#: Resembling words that one question to the ledger names, and words that one question to the store is about.
PAGE, BATCH = 2000, 32

#: Pieces of a query that are no words: addresses, paths of other systems, mail.
_ADDRESS = re.compile(r"://|@|\\")


def corrections(
    runtime: Runtime,
    view: SearchView,
    text: str,
    *,
    kept: Collection[str],
    filter: dict[str, Any] | None,
    principals: Collection[str] | None,
) -> dict[str, str]:
    """Words of the text, in lower case, and what was meant; ``kept`` are words that are meant as they stand.

    Corrections stand in something that meets ``filter`` and is open to ``principals``. For who may see everything, a text
    without errors costs one question to the ledger.
    """
    asked = _candidates_for_errors(text, kept)
    if not asked or len(asked) > MOST_WORDS:
        return {}
    unknown = _unknown(runtime, view, asked, principals)
    if not unknown or len(unknown) > max(2, len(asked) // 2):  # so many are not errors, but another language
        return {}
    presence = Presence(runtime, view, filter=filter, principals=principals)
    found: dict[str, str] = {}
    for word in unknown[:MOST_UNKNOWN] if presence.can_tell else ():
        near = _near(runtime, view.generation_id, word)
        meant = _meant(presence, text, word, near, frequent=principals is None)
        if meant is not None:
            found[word] = meant
        if len(found) == MOST_ERRORS:
            break
    return found


def corrected(text: str, corrections: dict[str, str]) -> str:
    """The text with those words as they were meant."""
    text, at, pieces = normal(text), 0, []
    for start, end, word in words_at(text):
        if word in corrections:
            meant = corrections[word]
            pieces += [text[at:start], meant.capitalize() if text[start].isupper() else meant]
            at = end
    return "".join([*pieces, text[at:]])


def _candidates_for_errors(text: str, kept: Collection[str]) -> list[str]:
    """The different words that may be errors, in order."""
    meant = {word for one in kept for word in words_of(one)}
    pieces = [piece for piece in normal(text).split() if not _ADDRESS.search(piece)]
    found = dict.fromkeys(word for piece in pieces for _, _, word in words_at(piece))
    return [word for word in found if len(word) >= SHORTEST and word not in meant]


def _unknown(runtime: Runtime, view: SearchView, asked: list[str], principals: Collection[str] | None) -> list[str]:
    """Those of the words that the caller's documents don't have, and that are no stop words of their languages."""
    left = asked
    if principals is None:
        known = runtime.ledger.known_words(view.generation_id, asked)
        left = [word for word in asked if word not in known]
        if not left:
            return []
    presence = Presence(runtime, view, principals=principals)
    if not presence.can_tell:
        return []
    there = presence.related(left)
    left = [word for word in left if word not in there]
    common = presence.common(left)
    return [word for word in left if word not in common]


def _near(runtime: Runtime, generation_id: int, word: str) -> list[tuple[int, str, int]]:
    """``(errors, word, documents)`` of all words of the generation, whoever may see them, that are one error away, or of a
    long word, two."""
    from rapidfuzz.distance import OSA

    # One error leaves the first half as it is, or the second, or swaps two letters between them.
    half, most = len(word) // 2, 1
    ways = [{"beginning": half, "end": len(word) - half, "longer": 1}]
    if len(word) >= LONG:  # two often leave the first third, or the last
        third, most = len(word) // 3, 2
        ways.append({"beginning": third, "end": third, "longer": 2})
    found: dict[str, tuple[int, str, int]] = {}
    for way in ways:
        for one, documents in _resembling(runtime, generation_id, word, way):
            far = OSA.distance(word, one, score_cutoff=most)
            if 0 < far <= most and not (far > 1 and _is_derived(word, one)):
                found[one] = (far, one, documents)
    return list(found.values())


def _resembling(runtime: Runtime, generation_id: int, word: str, way: dict[str, int]) -> Iterator[tuple[str, int]]:
    """All words that the ledger finds in this way, in pages: those that the caller may see can be on any of them."""
    after = ""
    while True:
        page = runtime.ledger.resembling_words(
            generation_id, word, others=_swapped(word), after=after, limit=PAGE, **way
        )
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1][0]


def _is_derived(one: str, other: str) -> bool:
    """Whether one is the other with something before or behind it, which makes another word of it: ``orthodox`` is no
    error for ``unorthodox``."""
    return one.startswith(other) or one.endswith(other) or other.startswith(one) or other.endswith(one)


def _swapped(word: str) -> list[str]:
    """The word with two neighbours in each other's place: all that share neither half with it are among these."""
    return [word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1)]


def _meant(presence: Presence, text: str, word: str, near: list[tuple[int, str, int]], *, frequent: bool) -> str | None:
    """The word that fits the rest of the query best, of the nearest that stand in what may be found.

    Only ``frequent`` tries the most frequent words first: how many documents have a word counts hidden ones as well. Words
    that the caller may not see change nothing here, however many there are.
    """
    order = sorted((far, -documents if frequent else 0, name) for far, name, documents in near)
    there: dict[str, int] = {}
    for _, nearest in groupby(order, key=lambda one: one[0]):
        names = [name for *_, name in nearest]
        for start in range(0, len(names), BATCH):
            some = presence.of(names[start : start + BATCH])
            there |= {name: seen.exact for name, seen in some.items() if seen.exact}
            if len(there) >= MOST_TRIED:
                break
        if there:
            break
    tried = list(there)[:MOST_TRIED]
    if len(tried) < 2:
        return tried[0] if tried else None
    scores = presence.best_scores([corrected(text, {word: name}) for name in tried])
    return min(zip(scores, tried, strict=True), key=lambda one: (-one[0], -there[one[1]], one[1]))[1]
