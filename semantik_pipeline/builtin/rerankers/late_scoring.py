"""Late interaction, and how near a text is to the search's best passages.

MaxSim as in ColBERT (Khattab and Zaharia, SIGIR 2020) over the token vectors of an embedding model, with weighted query
tokens (token_weights.py), asks whether each word of the query is met. Pseudo-relevance feedback (Rocchio 1971) asks what
the query did not say: passages that answer it resemble one another, so the cosine of a text's sentence vector to the
mean of those of the best fused passages is added. The sentence vector is the mean of token vectors that are there anyway.

Measured with 0.3 of the final score over 50 passages: nDCG@10 on Cranfield's odd queries (on which the constants were
chosen) and even ones, then MRR@10 on two known-item sets (removed sentences and titles of Python's reference topics;
first lines of standard library docstrings, with the rest as the text), which must not lose:

| | odd | even | topics | docstrings |
|---|---|---|---|---|
| no reranking | 0.436 | 0.441 | 0.722 | 0.678 |
| MaxSim alone | 0.441 | 0.431 | 0.723 | 0.674 |
| feedback of the best one, share 2 | 0.447 | 0.443 | 0.728 | 0.677 |
| of the two best alike, share 2 | 0.450 | 0.450 | 0.722 | 0.674 |
| of the two best, the second counting half, share 2 | 0.449 | 0.450 | 0.725 | 0.679 |

With 0.5 of the final score Cranfield has 0.459 and 0.452, and the known items begin to lose. Where a deadline leaves
time for the 12 best passages only, it has 0.442 and 0.443; for 20, 0.450 and 0.449. Of passages behind the first 30
hardly one rises among ten hits: 0.449 and 0.450 where 30 are read, 0.448 and 0.451 where 50 are; so it asks for three
for each hit. The last layers tell most: by the states after five layers of six it has 0.444 and 0.446, after four 0.443
and 0.443, after three 0.439 and 0.441.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from semantik_pipeline.builtin.embedders.loaded_model import LoadedModel
from semantik_pipeline.builtin.embedders.model_tokenizer import Window
from semantik_pipeline.builtin.rerankers.recent import Recent
from semantik_pipeline.builtin.rerankers.token_weights import TokenWeights
from semantik_pipeline.contracts.models import ModelUsage

if TYPE_CHECKING:
    import torch

#: What the cosine to the feedback counts where MaxSim counts one.
FEEDBACK_SHARE = 2.0
#: What a feedback text counts in the mean against the one before it: the best passage mostly is an answer.
FADING = 0.5

#: Searches whose query, and feedback, are known for the slices to come: about as many as there are at once.
KEPT = 32


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A query's own tokens: unit vectors (tokens, d) and weights (tokens,)."""

    units: np.ndarray
    weights: np.ndarray


class LateScoring:
    """Scores texts with one model. What it knows of the last queries and their feedback is kept for the slices to come."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self._weights = TokenWeights(model.tokenizer.vocabulary)
        self._special = np.array(sorted(model.tokenizer.special_ids), dtype=np.int64)
        self._queries: Recent[str, _Asked] = Recent(KEPT)
        # by feedback texts: their weighted mean sentence vector (d,), of length one
        self._towards: Recent[tuple[str, ...], np.ndarray] = Recent(KEPT)

    @property
    def usage(self) -> ModelUsage:
        return self.model.usage

    @property
    def device(self) -> str:
        return self.model.device

    def scores(
        self, query: str, documents: Sequence[str], feedback: Sequence[str] = (), stop: threading.Event | None = None
    ) -> np.ndarray:
        """(n,) float32 within 0..1; those of several calls with one query and one feedback can be compared.

        CancelledError soon after ``stop`` is set.
        """
        asked = self._asked(query)
        if not len(asked.weights):
            return np.zeros(len(documents), dtype=np.float32)
        towards = self._towards.get(tuple(feedback))
        more = [text for text in dict.fromkeys(feedback) if text not in documents] if towards is None else []
        texts = [*documents, *more]
        met, sentences = self._read(texts, asked, stop)
        if not feedback:
            return met
        if towards is None:
            best = _faded(sentences[[texts.index(text) for text in feedback]])
            towards = self._towards.put(tuple(feedback), best / _lengths(best))
        resembling = (sentences * towards).sum(1).clip(0, 1)
        return ((met + FEEDBACK_SHARE * resembling) / (1 + FEEDBACK_SHARE))[: len(documents)]

    def _read(self, texts: Sequence[str], asked: _Asked, stop: threading.Event | None) -> tuple[np.ndarray, np.ndarray]:
        """For each text its MaxSim, (n,), and its sentence vector of length one, (n, d).

        Long texts are read in windows, nothing is cut: a query token takes the nearest of all windows, the sentence
        vector is the windows' mean by their tokens.
        """
        import torch

        windows = self.model.tokenizer.windows(texts, limit=self.model.card.window)
        wanted = torch.from_numpy(asked.units).to(self.model.device)
        found = self.model.read(windows, lambda *batch: self._look(wanted, *batch), stop=stop)
        nearest = np.zeros((len(texts), len(asked.weights)), dtype=np.float32)  # what points away is not met, no more
        sentences = np.zeros((len(texts), asked.units.shape[1]), dtype=np.float32)
        for window, (cosines, pooled) in zip(windows, found, strict=True):
            nearest[window.owner] = np.maximum(nearest[window.owner], cosines)
            sentences[window.owner] += window.tokens * pooled
        return (nearest @ asked.weights / asked.weights.sum()).clip(0, 1), sentences / _lengths(sentences)

    def _look(
        self, wanted: torch.Tensor, states: torch.Tensor, keep: torch.Tensor, windows: Sequence[Window]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each window the highest cosine of its own tokens to each of the wanted unit vectors, (wanted,), and its
        sentence vector of length one, (d,).

        All windows at once, in torch: numpy's BLAS brings threads of its own, which spin for a while where the next
        forward wants the cores.
        """
        import torch
        from torch.nn.functional import normalize

        own = torch.from_numpy(self._content(windows, states.shape[1])).to(states.device)
        lengths = torch.linalg.vector_norm(states, dim=2, keepdim=True).clamp_min(1e-12)
        cosines = (states @ wanted.T) / lengths  # and not of unit vectors: no copy of all states
        nearest = cosines.masked_fill(~own.unsqueeze(2), -1.0).amax(dim=1)
        if self.model.card.pooling == "cls":
            pooled = states[:, 0]
        else:
            pooled = (keep.unsqueeze(1).to(states.dtype) @ states).squeeze(1) / keep.sum(1, keepdim=True)
        return list(zip(nearest.cpu().numpy(), normalize(pooled, dim=1).cpu().numpy(), strict=True))

    def _asked(self, query: str) -> _Asked:
        known = self._queries.get(query)
        if known is None:
            windows = self.model.tokenizer.windows([query], limit=self.model.card.window)
            found = self.model.read(windows, self._units)
            own = [self._content([window], len(window.ids))[0] for window in windows]
            ids = [id for window, mask in zip(windows, own, strict=True) for id in np.array(window.ids)[mask].tolist()]
            known = self._queries.put(query, _Asked(units=np.concatenate(found), weights=self._weights.of(ids)))
        return known

    def _units(self, states: torch.Tensor, keep: torch.Tensor, windows: Sequence[Window]) -> list[np.ndarray]:
        """For each window the unit vectors of its own tokens, (own tokens, d)."""
        from torch.nn.functional import normalize

        units = normalize(states, dim=2).cpu().numpy()
        return [row[mask] for row, mask in zip(units, self._content(windows, states.shape[1]), strict=True)]

    def _content(self, windows: Sequence[Window], length: int) -> np.ndarray:
        """(windows, length) true at a window's own tokens; special ones match everywhere and tell nothing."""
        ids = np.fromiter(chain.from_iterable(window.ids for window in windows), dtype=np.int64)
        own = np.arange(length) < np.array([len(window.ids) for window in windows])[:, None]
        own[own] = ~np.isin(ids, self._special)
        return own


def _faded(vectors: np.ndarray) -> np.ndarray:
    """(d,): the sum of these (n, d), each counting FADING of the one before."""
    return (vectors * FADING ** np.arange(len(vectors), dtype=np.float32)[:, None]).sum(0)


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """Euclidean lengths of the last axis, which is kept with size 1; never 0."""
    return np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
