"""Typing errors: a word of the query that nothing has, and that resembles one that something has.

Nothing leaks: a caller who may not see everything gets no correction that it could not read in a document of its own, and
whether a word is taken for an error is decided by those documents alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from semantik_pipeline.search.understanding.presence import Presence
from semantik_pipeline.spelling import normal, words_at, words_of

#: Letters of a word that is corrected, at least; and of one in which two errors are looked for.
SHORTEST, LONG = 4, 8

#: Different words of a query that is looked at: a longer one is understood without any single one of them.
MOST_WORDS = 48

#: Unknown words of a query that are looked at, those of them that are corrected, and candidates of each that are tried.
MOST_UNKNOWN, MOST_ERRORS, MOST_TRIED = 8, 4, 8

#: Resembling words that the ledger names of each, the most frequent.
MOST_RESEMBLING = 2000

#: Pieces of a query that are no words: addresses, paths of other systems, mail.
_ADDRESS = re.compile(r"://|@|\\")


@dataclass(frozen=True, kw_only=True)
class Error:
    """A word that is taken for an error, and what may be meant: ``(word, errors, documents)``."""

    word: str
    candidates: tuple[tuple[str, int, int], ...]


def corrections(
    runtime: Any,
    view: Any,
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
    tried = _errors(runtime, view.generation_id, unknown)
    return _chosen(runtime, view, text, tried, filter, principals) if tried else {}


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


def _unknown(runtime: Any, view: Any, asked: list[str], principals: Collection[str] | None) -> list[str]:
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
    if principals is not None:
        found = presence.of(left)
        left = [word for word in left if not found[word].related]
    common = presence.common(left)
    return [word for word in left if word not in common]


def _errors(runtime: Any, generation_id: int, unknown: list[str]) -> list[Error]:
    """The first of the unknown words that resemble others."""
    found: list[Error] = []
    for word in unknown[:MOST_UNKNOWN]:
        error = _error(runtime, generation_id, word)
        if error.candidates:
            found.append(error)
        if len(found) == MOST_ERRORS:
            break
    return found


def _error(runtime: Any, generation_id: int, word: str) -> Error:
    """What may be meant by the word: what is one error away, or else, of a long word, two; the most frequent first."""
    from rapidfuzz.distance import OSA

    # One error leaves the first half as it is, or the second, or swaps two letters between them.
    half, most = len(word) // 2, 1
    limits: dict[str, Any] = {"others": _swapped(word), "limit": MOST_RESEMBLING}
    ask = runtime.ledger.resembling_words
    alike = ask(generation_id, word, beginning=half, end=len(word) - half, longer=1, **limits)
    if len(word) >= LONG:  # two often leave the first third, or the last
        third, most = len(word) // 3, 2
        alike += ask(generation_id, word, beginning=third, end=third, longer=2, **limits)
    distances = {one: (OSA.distance(word, one, score_cutoff=most), documents) for one, documents in alike}
    near = [
        (one, far, documents)
        for one, (far, documents) in distances.items()
        if 0 < far <= most and not (far > 1 and _is_derived(word, one))
    ]
    nearest = min((far for _, far, _ in near), default=0)
    best = sorted((one for one in near if one[1] == nearest), key=lambda one: (-one[2], one[0]))
    return Error(word=word, candidates=tuple(best[:MOST_TRIED]))


def _is_derived(one: str, other: str) -> bool:
    """Whether one is the other with something before or behind it, which makes another word of it: ``orthodox`` is no
    error for ``unorthodox``."""
    return one.startswith(other) or one.endswith(other) or other.startswith(one) or other.endswith(one)


def _swapped(word: str) -> list[str]:
    """The word with two neighbours in each other's place: all that share neither half with it are among these."""
    return [word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1)]


def _chosen(
    runtime: Any,
    view: Any,
    text: str,
    errors: Sequence[Error],
    filter: dict[str, Any] | None,
    principals: Collection[str] | None,
) -> dict[str, str]:
    """For each error the candidate that fits the rest of the query best, of those that stand in what may be found."""
    presence = Presence(runtime, view, filter=filter, principals=principals)
    if not presence.can_tell:
        return {}
    typed = Presence(runtime, view, principals=principals).of([error.word for error in errors])
    errors = [error for error in errors if not typed[error.word].related]
    names = list(dict.fromkeys(name for error in errors for name, _, _ in error.candidates))
    seen = presence.of(names)
    found: dict[str, str] = {}
    for error in errors:
        there = [(name, documents) for name, _, documents in error.candidates if seen[name].exact]
        if len(there) > 1:
            scores = presence.best_scores([corrected(text, {error.word: name}) for name, _ in there])
            ranked = sorted(
                zip(scores, there, strict=True), key=lambda one: (-one[0], -seen[one[1][0]].exact, one[1][0])
            )
            there = [one for _, one in ranked]
        if there:
            found[error.word] = there[0][0]
    return found
