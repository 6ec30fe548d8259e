"""The light backend: a plain BERT forward and its pooling."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from semantik_pipeline.builtin.embedders.bert import Bert
from semantik_pipeline.builtin.embedders.model_card import ModelCard
from semantik_pipeline.builtin.embedders.model_tokenizer import Window

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# From this forward on, the encoder is one traced call, which does not hold the interpreter's lock: Python threads of
# the process neither slow it nor are slowed by it (texts/s beside a busy Python thread, two cores: 30 traced, 7
# untraced, 62 alone). Tracing takes 0.2 to 0.5 s, which a cold search with a handful of forwards should not pay.
TRACED_FROM = 24


class BertBackend:
    """Embeds windows with :class:`Bert`. Cold, it loads in a second or two: neither transformers nor
    sentence-transformers is imported."""

    name = "light"

    def __init__(self, card: ModelCard, *, device: str, precision: str) -> None:
        import torch

        self.device = device
        self.precision = precision
        self._card = card
        self._pad = card.config.get("pad_token_id") or 0
        self._model = Bert(card.path, card.config, device=device, dtype=getattr(torch, precision))
        self.parameters = self._model.parameters
        self._hidden = self._model.hidden
        self._forwards = 0
        self._counting = threading.Lock()

    def embed(self, windows: Sequence[Window], prompt: str) -> np.ndarray:
        """(n, d) float32, the prompt being in the windows' ids already."""
        import torch

        with torch.inference_mode():
            return self._pooled(*self._padded(windows)).cpu().numpy()

    def token_vectors(self, windows: Sequence[Window]) -> list[np.ndarray]:
        """For each window the last hidden state of each of its ids, (tokens, d) float32."""
        import torch

        with torch.inference_mode():
            self._count()
            states = self._hidden(*self._padded(windows))[0].cpu().numpy()
        return [states[row, : len(window.ids)] for row, window in enumerate(windows)]

    def _padded(self, windows: Sequence[Window]) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        lengths = [len(window.ids) for window in windows]
        ids = np.full((len(windows), max(lengths, default=1) or 1), self._pad, dtype=np.int64)
        for row, window in enumerate(windows):
            ids[row, : lengths[row]] = window.ids
        return torch.from_numpy(ids).to(self.device), torch.tensor(lengths).clamp(min=1).to(self.device)

    def _pooled(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import normalize

        self._count()
        states, keep = self._hidden(ids, lengths)
        if self._card.pooling == "cls":
            pooled = states[:, 0]
        else:
            pooled = (states * keep.unsqueeze(-1)).sum(1) / lengths.unsqueeze(1)
        return normalize(pooled, dim=1) if self._card.normalizes else pooled

    def _count(self) -> None:
        """Trace the forward once it has run often enough to be worth it."""
        with self._counting:
            self._forwards += 1
            if self._forwards == TRACED_FROM:
                self._hidden = self._traced() or self._hidden

    def _traced(self):
        import torch

        example = (torch.ones(2, 8, dtype=torch.long), torch.tensor([8, 5]))
        try:
            with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # newer torch deprecates tracing; without it we are slower, not wrong
                return torch.jit.trace(self._model.hidden, tuple(t.to(self.device) for t in example), check_trace=False)
        except Exception as error:  # tracing fails in as many ways as torch has versions
            log.info("the light forward is not traced, busy threads will slow it: %s", error)
            return None
