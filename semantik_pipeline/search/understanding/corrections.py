"""Corrects typing errors: words of the query that no document has, and that resemble a word that a document has.

Corrections don't leak words of documents that are not open to the caller: a caller with principals gets only
corrections that stand in documents open to it, and only those documents decide whether a word is an error.
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

#: The minimum length of a word that is corrected, and of a word that may have two errors.
SHORTEST, LONG = 4, 8

#: A query with more different words is not corrected: it is understood without any single one of them.
MOST_WORDS = 48

#: Maxima: of unknown words that are examined, of words that are corrected, and of candidates that are tried for each.
MOST_UNKNOWN, MOST_ERRORS, MOST_TRIED = 8, 4, 8

#: Similar words that one request to the ledger returns, and words in one request to the store.
PAGE, BATCH = 2000, 32

#: Parts of a query that are not words: URLs, mail addresses, Windows paths.
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
    """Return misspelled words of the text, in lower case, with their corrections. Words in ``kept`` are not corrected.

    Each correction stands in a chunk that meets ``filter`` and is open to ``principals``. Without principals (None), a
    text without errors costs one request to the ledger.
    """
    asked = _candidates_for_errors(text, kept)
    if not asked or len(asked) > MOST_WORDS:
        return {}
    unknown = _unknown(runtime, view, asked, principals)
    if not unknown or len(unknown) > max(2, len(asked) // 2):  # so many unknown words are another language
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
    """Return the text with the corrections applied."""
    text, at, pieces = normal(text), 0, []
    for start, end, word in words_at(text):
        if word in corrections:
            meant = corrections[word]
            pieces += [text[at:start], meant.capitalize() if text[start].isupper() else meant]
            at = end
    return "".join([*pieces, text[at:]])


def _candidates_for_errors(text: str, kept: Collection[str]) -> list[str]:
    """Return the different words that may be errors, in order."""
    meant = {word for one in kept for word in words_of(one)}
    pieces = [piece for piece in normal(text).split() if not _ADDRESS.search(piece)]
    found = dict.fromkeys(word for piece in pieces for _, _, word in words_at(piece))
    return [word for word in found if len(word) >= SHORTEST and word not in meant]


def _unknown(runtime: Runtime, view: SearchView, asked: list[str], principals: Collection[str] | None) -> list[str]:
    """Return the words that no document open to the caller has, without stop words of those documents' languages."""
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
    """Return ``(errors, word, documents)`` for all words of the generation that are one error away, or two from a long
    word. Words of documents that are not open to the caller are included."""
    from rapidfuzz.distance import OSA

    # One error leaves the first or the second half unchanged, or swaps the two letters in the middle.
    half, most = len(word) // 2, 1
    ways = [{"beginning": half, "end": len(word) - half, "longer": 1}]
    if len(word) >= LONG:  # two errors often leave the first or the last third unchanged
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
    """Yield all words that the ledger finds in this way. All pages are read: words that are open to the caller can be
    on any of them."""
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
    """Return whether one word is the other with a prefix or suffix, which makes it another word: ``orthodox`` is not a
    misspelled ``unorthodox``."""
    return one.startswith(other) or one.endswith(other) or other.startswith(one) or other.endswith(one)


def _swapped(word: str) -> list[str]:
    """Return the word with each two adjacent letters swapped. All words one error away that share neither half with it
    are among these."""
    return [word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1)]


def _meant(presence: Presence, text: str, word: str, near: list[tuple[int, str, int]], *, frequent: bool) -> str | None:
    """Return the correction that fits the rest of the query best, of the nearest words that stand in what may be found.

    The most frequent words are tried first only if ``frequent``: the counts include documents that are not open to the
    caller. Words of such documents do not change the result, however many there are.
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
