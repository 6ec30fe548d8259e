"""The light backend: a plain BERT forward pass and its pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from semantik_pipeline.builtin.embedders.bert import Bert
from semantik_pipeline.builtin.embedders.model_card import ModelCard
from semantik_pipeline.builtin.embedders.model_tokenizer import Window
from semantik_pipeline.builtin.embedders.traced_forward import TracedForward

if TYPE_CHECKING:
    import torch


class BertBackend:
    """Embeds windows with :class:`Bert`. A cold start takes a second or two, because neither transformers nor
    sentence-transformers is imported."""

    name = "light"
    concurrent = True

    def __init__(self, card: ModelCard, *, device: str, precision: str) -> None:
        import torch

        self.device = device
        self.precision = precision
        self._card = card
        self._pad = card.config.get("pad_token_id") or 0
        self._model = Bert(card.path, card.config, device=device, dtype=getattr(torch, precision))
        self.parameters = self._model.parameters
        self._hidden = TracedForward(self._model.hidden, self._example)
        self._parts: dict[int, TracedForward] = {}  # number of layers -> the forward that stops after them

    def embed(self, windows: Sequence[Window], prompt: str) -> np.ndarray:
        """(n, d) float32. The windows' ids already include the prompt."""
        import torch

        with torch.inference_mode():
            return self._pooled(*self._padded(windows)).cpu().numpy()

    def states(self, windows: Sequence[Window], depth: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """The hidden states (windows, tokens, d) float32 after the share ``depth`` of the layers, rounded up, and a
        mask that is true at real tokens."""
        layers = math.ceil(depth * len(self._model.layers))
        if layers == len(self._model.layers):
            return self._hidden(*self._padded(windows))
        forward = self._parts.get(layers)
        if forward is None:
            forward = self._parts.setdefault(
                layers, TracedForward(partial(self._model.hidden, layers=layers), self._example)
            )
        return forward(*self._padded(windows))

    def _padded(self, windows: Sequence[Window]) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        lengths = [len(window.ids) for window in windows]
        ids = np.full((len(windows), max(lengths, default=1) or 1), self._pad, dtype=np.int64)
        for row, window in enumerate(windows):
            ids[row, : lengths[row]] = window.ids
        return torch.from_numpy(ids).to(self.device), torch.tensor(lengths).clamp(min=1).to(self.device)

    def _pooled(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import normalize

        states, keep = self._hidden(ids, lengths)
        if self._card.pooling == "cls":
            pooled = states[:, 0]
        else:
            pooled = (states * keep.unsqueeze(-1)).sum(1) / lengths.unsqueeze(1)
        return normalize(pooled, dim=1) if self._card.normalizes else pooled

    def _example(self) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        return torch.ones(2, 8, dtype=torch.long, device=self.device), torch.tensor([8, 5], device=self.device)
