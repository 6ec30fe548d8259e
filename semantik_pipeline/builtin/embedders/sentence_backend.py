"""The general backend: every model that sentence-transformers can load, with the light backend's two methods."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np

from semantik_pipeline.builtin.embedders.model_card import ModelCard
from semantik_pipeline.builtin.embedders.model_tokenizer import Window
from semantik_pipeline.errors import PluginLoadError

if TYPE_CHECKING:
    import torch

# Models whose weights are stored in half precision are converted to float32 (all but the matrix products use it);
# otherwise vectors differ by 0.0005 in cosine between devices. Larger models keep their type, because the conversion
# would double their memory.
_LARGE = 1_000_000_000


class SentenceBackend:
    """Embeds windows with ``SentenceTransformer.encode``. Importing it takes 4 to 7 s."""

    name = "sentence-transformers"
    concurrent = False  # a Hugging Face tokenizer is reconfigured in each call

    def __init__(self, card: ModelCard, *, device: str, precision: str, trust_remote_code: bool = False) -> None:
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # standard error is reserved for the pipeline's own progress
        self.device = device
        self.precision = precision
        try:
            self._model = SentenceTransformer(
                str(card.path), device=device, local_files_only=True, trust_remote_code=trust_remote_code
            )
        except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
            raise PluginLoadError(
                f"sentence-transformers can't load the model in {card.path}: {error}.",
                "If the model has its own code, read it and set trust_remote_code: true.",
            ) from error
        self._model.eval()
        self.parameters = sum(parameter.numel() for parameter in self._model.parameters())
        if self.parameters <= _LARGE:
            self._model.float()
        if card.window:
            self._model.max_seq_length = card.window

    def embed(self, windows: Sequence[Window], prompt: str) -> np.ndarray:
        """(n, d) float32."""
        texts = [window.text for window in windows]
        with self._half_products():
            vectors = self._model.encode(texts, prompt=prompt, batch_size=len(texts), show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    def states(self, windows: Sequence[Window], depth: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """The last hidden states (windows, tokens, d) float32, and a mask that is true at real tokens.

        sentence-transformers always runs all layers, so ``depth`` is ignored.
        """
        import torch
        from torch.nn.utils.rnn import pad_sequence

        texts = [window.text for window in windows]
        with self._half_products():
            encoded = self._model.encode(
                texts, prompt="", batch_size=len(texts), output_value="token_embeddings", show_progress_bar=False
            )
        found = [state[: len(window.ids)].float() for state, window in zip(encoded, windows, strict=True)]
        lengths = torch.tensor([len(state) for state in found], device=found[0].device)
        states = pad_sequence(found, batch_first=True)
        return states, torch.arange(states.shape[1], device=states.device) < lengths.unsqueeze(1)

    def _half_products(self) -> AbstractContextManager:
        """Autocast: matrix products in half precision, norms and sums in float32."""
        import torch

        kind = self.device.split(":", 1)[0]
        return torch.autocast(kind, getattr(torch, self.precision), enabled=self.precision != "float32")
