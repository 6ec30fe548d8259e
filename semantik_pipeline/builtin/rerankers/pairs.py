"""A query with a text, as models read them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A query with a text, or with a stretch of it. ``owner`` is the text's index; ``length`` counts tokens, those of
    the query and special ones included. ``ids`` and ``kinds`` (token types) are those tokens, left empty by a backend
    that tokenises anew."""

    owner: int = 0
    text: str
    length: int
    ids: Sequence[int] = ()
    kinds: Sequence[int] = ()


class PairBackend(Protocol):
    """What reads pairs, one micro-batch at a time; given texts have no lone surrogates. ``window`` is the most tokens of a
    pair."""

    name: str
    device: str
    precision: str
    parameters: int
    window: int
    concurrent: bool  # several threads may call it at once

    def pairs(self, query: str, texts: Sequence[str]) -> list[Pair]:
        """The query with each of the texts, whole, however long; the owners are their places."""
        ...

    def logits(self, query: str, pairs: Sequence[Pair]) -> np.ndarray:
        """(n,) float64, the higher the better; :func:`probability` makes them comparable."""
        ...

    def shares(self, logits: np.ndarray) -> np.ndarray:
        """The logits as the model means them, mostly :func:`probability`."""
        ...


def probability(logits: np.ndarray) -> np.ndarray:
    """The logistic function, in float64, where even logits of 30 are told apart; never overflows."""
    small = np.exp(-np.abs(logits.astype(np.float64)))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))


def cut(pair: Pair, window: int) -> Pair:
    """A pair that is longer than the window, its last token kept: for one character of more tokens than there is room."""
    if pair.length <= window or not pair.ids:
        return pair
    kinds = [*pair.kinds[: window - 1], pair.kinds[-1]] if pair.kinds else ()
    return replace(pair, length=window, ids=[*pair.ids[: window - 1], pair.ids[-1]], kinds=kinds)
