"""Late interaction: MaxSim as in ColBERT (Khattab and Zaharia, SIGIR 2020) over the token vectors of an embedding
model, with weighted query tokens (token_weights.py). The score says how well each word of the query is matched."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from semantik_pipeline.builtin.embedders.loaded_model import LoadedModel
from semantik_pipeline.builtin.embedders.model_tokenizer import Window
from semantik_pipeline.builtin.rerankers.recent import Recent
from semantik_pipeline.builtin.rerankers.token_weights import TokenWeights
from semantik_pipeline.contracts.models import ModelUsage

if TYPE_CHECKING:
    import torch

#: The share of the model's layers that tokens go through. Middle layers compare tokens as well as the last one does (as
#: BERTScore found: Zhang et al., ICLR 2020, choose one of them for most models). With the feedback, nDCG@10 on
#: Cranfield's odd and even queries is 0.451 and 0.452 after all six layers of MiniLM-L6, 0.453 and 0.450 after four,
#: 0.452 and 0.450 after three, in half of the time. MaxSim alone, without the feedback, gets worse: 0.442 and 0.434
#: after six layers, 0.439 and 0.426 after three.
DEPTH = 0.5

#: Queries whose vectors are kept for the next slices: about as many as there are searches at once.
KEPT = 32


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A query's own tokens: unit vectors (tokens, d) and weights (tokens,)."""

    units: np.ndarray
    weights: np.ndarray


class LateScoring:
    """Scores texts with one model. The vectors of recent queries are kept for the next slices of their candidates."""

    #: Whether relevance feedback improves these scores.
    TAKES_FEEDBACK: ClassVar[bool] = True

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self._weights = TokenWeights(model.tokenizer.vocabulary)
        self._special = np.array(sorted(model.tokenizer.special_ids), dtype=np.int64)
        self._queries: Recent[str, _Asked] = Recent(KEPT)

    @property
    def usage(self) -> ModelUsage:
        return self.model.usage

    @property
    def device(self) -> str:
        return self.model.device

    def scores(self, query: str, documents: Sequence[str], stop: threading.Event | None = None) -> np.ndarray:
        """(n,) float32 within 0..1: the weighted mean, over the query's tokens, of the cosine to the nearest token.

        Long texts are read in windows and nothing is cut off: a query token takes its nearest token of all windows.
        CancelledError is raised soon after ``stop`` is set.
        """
        import torch

        asked = self._asked(query)
        if not len(asked.weights):
            return np.zeros(len(documents), dtype=np.float32)
        windows = self.model.tokenizer.windows(documents, limit=self.model.card.window)
        wanted = torch.from_numpy(asked.units).to(self.model.device)
        found = self.model.read(windows, lambda *batch: self._look(wanted, *batch), depth=DEPTH, stop=stop)
        # a negative cosine counts as no match
        nearest = np.zeros((len(documents), len(asked.weights)), dtype=np.float32)
        for window, cosines in zip(windows, found, strict=True):
            nearest[window.owner] = np.maximum(nearest[window.owner], cosines)
        return (nearest @ asked.weights / asked.weights.sum()).clip(0, 1)

    def _look(
        self, wanted: torch.Tensor, states: torch.Tensor, _keep: torch.Tensor, windows: Sequence[Window]
    ) -> list[np.ndarray]:
        """For each window, the highest cosine of its own tokens to each of the wanted unit vectors, (wanted,).

        All windows are processed at once in torch: numpy's BLAS starts threads of its own, which spin for a while on
        the cores that the next forward pass needs.
        """
        import torch

        own = torch.from_numpy(self._content(windows, states.shape[1])).to(states.device)
        lengths = torch.linalg.vector_norm(states, dim=2, keepdim=True).clamp_min(1e-12)
        cosines = (states @ wanted.T) / lengths  # dividing here avoids a normalized copy of all states
        return list(cosines.masked_fill(~own.unsqueeze(2), -1.0).amax(dim=1).cpu().numpy())

    def _asked(self, query: str) -> _Asked:
        known = self._queries.get(query)
        if known is None:
            windows = self.model.tokenizer.windows([query], limit=self.model.card.window)
            found = self.model.read(windows, self._units, depth=DEPTH)
            own = [self._content([window], len(window.ids))[0] for window in windows]
            ids = [id for window, mask in zip(windows, own, strict=True) for id in np.array(window.ids)[mask].tolist()]
            known = self._queries.put(query, _Asked(units=np.concatenate(found), weights=self._weights.of(ids)))
        return known

    def _units(self, states: torch.Tensor, _keep: torch.Tensor, windows: Sequence[Window]) -> list[np.ndarray]:
        """For each window, the unit vectors of its own tokens, (own tokens, d)."""
        from torch.nn.functional import normalize

        units = normalize(states, dim=2).cpu().numpy()
        return [row[mask] for row, mask in zip(units, self._content(windows, states.shape[1]), strict=True)]

    def _content(self, windows: Sequence[Window], length: int) -> np.ndarray:
        """(windows, length), true at a window's own tokens; special tokens are left out, as they match everywhere."""
        ids = np.fromiter(chain.from_iterable(window.ids for window in windows), dtype=np.int64)
        own = np.arange(length) < np.array([len(window.ids) for window in windows])[:, None]
        own[own] = ~np.isin(ids, self._special)
        return own
