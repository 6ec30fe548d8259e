"""A query combined with a text, in the form that a model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A query with a text, or with a part of one.

    ``owner`` is the text's index. ``length`` counts tokens, including those of the query and special ones. ``ids`` and
    ``kinds`` (token types) describe those tokens; a backend that tokenizes again leaves them empty.
    """

    owner: int = 0
    text: str
    length: int
    ids: Sequence[int] = ()
    kinds: Sequence[int] = ()


class PairBackend(Protocol):
    """Reads pairs, one micro-batch at a time; its texts have no lone surrogates. ``window`` is the most tokens of a
    pair."""

    name: str
    device: str
    precision: str
    parameters: int
    window: int
    concurrent: bool  # whether several threads may call it at once

    def pairs(self, query: str, texts: Sequence[str]) -> list[Pair]:
        """The query with each whole text, however long; the owners are the texts' positions."""
        ...

    def logits(self, query: str, pairs: Sequence[Pair]) -> np.ndarray:
        """(n,) float64, higher is better; :func:`probability` makes them comparable."""
        ...

    def shares(self, logits: np.ndarray) -> np.ndarray:
        """Scores computed from the logits as the model defines them, usually by :func:`probability`."""
        ...


def probability(logits: np.ndarray) -> np.ndarray:
    """The logistic function in float64, which still distinguishes logits near 30; never overflows."""
    small = np.exp(-np.abs(logits.astype(np.float64)))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))


def cut(pair: Pair, window: int) -> Pair:
    """Shorten a pair to the window and keep its last token; needed when a single character has too many tokens."""
    if pair.length <= window or not pair.ids:
        return pair
    kinds = [*pair.kinds[: window - 1], pair.kinds[-1]] if pair.kinds else ()
    return replace(pair, length=window, ids=[*pair.ids[: window - 1], pair.ids[-1]], kinds=kinds)
