"""A sparse encoder in memory: length-sorted micro-batches, with long texts split into windows."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from semantik_pipeline.builtin.embedders.device_turns import Lane
from semantik_pipeline.builtin.embedders.loaded_model import ModelOptions
from semantik_pipeline.builtin.embedders.micro_batches import MicroBatches
from semantik_pipeline.builtin.embedders.model_card import ModelCard, read_model_card
from semantik_pipeline.builtin.embedders.model_tokenizer import ModelTokenizer
from semantik_pipeline.builtin.embedders.precision import choose_device, choose_precision
from semantik_pipeline.contracts.models import ModelFiles
from semantik_pipeline.documents import SparseVector
from semantik_pipeline.errors import PluginLoadError

_DEFAULT_WINDOW = 512


class LoadedSparse(MicroBatches):
    """Methods block. Any thread may call them; one at a time gets the device."""

    def __init__(self, located: ModelFiles, options: ModelOptions, max_terms: int | None) -> None:
        device = choose_device(options.device)
        precision = choose_precision(options.precision, device)
        key = f"{located.path} {device} {precision}"
        super().__init__(device=device, key=key, batch_tokens=options.max_batch_tokens)
        card = read_model_card(located.path)
        self._precision = precision
        self._max_terms = max_terms
        self._tokenizer = ModelTokenizer(located.path)
        self._model = _load(card, device, options.trust_remote_code)
        self._window = min(card.window or _DEFAULT_WINDOW, self._model.max_seq_length or _DEFAULT_WINDOW)

    def vectors(
        self, texts: Sequence[str], *, query: bool, lane: Lane, stop: threading.Event | None = None
    ) -> list[SparseVector]:
        """Each text's weights of the model's terms, if above 0. CancelledError is raised soon after ``stop`` is set."""
        windows = self._tokenizer.windows(texts, limit=self._window)
        parts = self.through(
            [window.text for window in windows],
            [len(window.ids) for window in windows],
            lambda batch: self._forward(batch, query),
            lane=lane,
            stop=stop,
        )
        weights: list[dict[int, float]] = [{} for _ in texts]
        for window, part in zip(windows, parts, strict=True):
            own = weights[window.owner]
            for term, weight in part.items():
                own[term] = max(weight, own.get(term, 0.0))
        return [self._weightiest(own) for own in weights]

    def _forward(self, texts: list[str], query: bool) -> list[dict[int, float]]:
        import torch

        encode = self._model.encode_query if query else self._model.encode_document
        kind = self.device.split(":", 1)[0]
        with torch.autocast(kind, getattr(torch, self._precision), enabled=self._precision != "float32"):
            found = encode(texts, batch_size=len(texts), convert_to_sparse_tensor=False, show_progress_bar=False)
        return weights_of(found, self._max_terms)

    def _weightiest(self, weights: dict[int, float]) -> SparseVector:
        kept = sorted(weights, key=lambda term: (-weights[term], term))[: self._max_terms]
        return SparseVector(sorted(kept), [weights[term] for term in sorted(kept)])


def weights_of(found: Any, max_terms: int | None) -> list[dict[int, float]]:
    """Term -> weight for each row of a tensor (texts, terms), for weights above 0.

    Only the ``max_terms`` weightiest terms of a text, and those that tie with the last of them, are copied off the
    device: the copy happens during this call's turn.
    """
    import torch

    found = found.float()
    kept = found > 0
    if max_terms is not None and max_terms < found.shape[1]:
        kept &= found >= torch.topk(found, max_terms, dim=1).values[:, -1:]
    rows, terms = kept.nonzero(as_tuple=True)
    weights: list[dict[int, float]] = [{} for _ in range(len(found))]
    for row, term, weight in zip(rows.tolist(), terms.tolist(), found[rows, terms].tolist(), strict=True):
        weights[row][term] = weight
    return weights


def _load(card: ModelCard, device: str, trust_remote_code: bool) -> Any:
    from sentence_transformers import SparseEncoder
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # standard error is reserved for the pipeline's own progress
    try:
        model = SparseEncoder(str(card.path), device=device, local_files_only=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        raise PluginLoadError(
            f"sentence-transformers can't load the sparse encoder in {card.path}: {error}."
        ) from error
    model.eval()
    return model
