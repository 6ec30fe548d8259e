"""A CrossEncoder in memory: pairs in length-sorted micro-batches, long texts in parts."""

from __future__ import annotations

import logging
import time

import numpy as np

from semantik_pipeline.builtin.embedders.device_turns import DeviceTurns, Lane
from semantik_pipeline.builtin.embedders.loaded_model import (
    CPU_BATCH_TOKENS,
    GPU_BATCH_TOKENS,
    ModelOptions,
    with_forward,
)
from semantik_pipeline.builtin.embedders.model_card import read_model_card
from semantik_pipeline.builtin.embedders.model_tokenizer import ModelTokenizer
from semantik_pipeline.builtin.embedders.out_of_memory import release_memory
from semantik_pipeline.builtin.embedders.precision import choose_device, choose_precision
from semantik_pipeline.builtin.embedders.surrogates import without_surrogates
from semantik_pipeline.builtin.embedders.token_batches import batch_end, longest_first
from semantik_pipeline.contracts.models import ModelFiles, ModelUsage, is_out_of_memory
from semantik_pipeline.errors import PluginLoadError, TransientError

log = logging.getLogger(__name__)

# Special tokens around a pair: [CLS] query [SEP] text [SEP]; RoBERTa has four.
_PAIR_TOKENS = 4
_DEFAULT_WINDOW = 512


class LoadedCrossEncoder:
    """Methods block; any thread may call them, one at a time gets the device."""

    def __init__(self, located: ModelFiles, options: ModelOptions) -> None:
        self.device = choose_device(options.device)
        self.precision = choose_precision(options.precision, self.device)
        self.window = read_model_card(located.path).window or _DEFAULT_WINDOW
        self.batch_tokens = options.max_batch_tokens or (CPU_BATCH_TOKENS if self.device == "cpu" else GPU_BATCH_TOKENS)
        self._tokenizer = ModelTokenizer(located.path)
        self._turns = DeviceTurns()
        self.usage = ModelUsage(key=f"{located.path} {id(self)}")  # replaced within a turn
        self._model = _load(located, self.device, options.trust_remote_code, self.window)

    def scores(self, query: str, texts: list[str]) -> np.ndarray:
        """(n,) float32: each text's score with the query, its best part's where it is read in parts."""
        texts = [without_surrogates(text) for text in texts]
        query, room = self._fitting_query(without_surrogates(query))
        parts = [(owner, part) for owner, text in enumerate(texts) for part in self._tokenizer.split(text, room)]
        lengths = self._tokenizer.count([part for _, part in parts])
        found = self._predict(query, [part for _, part in parts], lengths)
        best = np.full(len(texts), -np.inf, dtype=np.float32)
        np.maximum.at(best, [owner for owner, _ in parts], found)
        return best

    def _fitting_query(self, query: str) -> tuple[str, int]:
        """The query, or of one longer than half the window its first part; and the tokens left for a text."""
        first, *rest = self._tokenizer.split(query, max(1, self.window // 2 - _PAIR_TOKENS))
        if rest:
            log.warning("the query is too long for the cross-encoder: it reads the first %d tokens", self.window // 2)
        return first, max(1, self.window - _PAIR_TOKENS - self._tokenizer.count([first])[0])

    def _predict(self, query: str, texts: list[str], lengths: list[int]) -> np.ndarray:
        order = longest_first(lengths)
        taken = self.window if not lengths else self._tokenizer.count([query])[0] + _PAIR_TOKENS
        padded = [lengths[index] + taken for index in order]
        scores = np.empty(len(texts), dtype=np.float32)
        start = 0
        while start < len(order):
            batch = order[start : batch_end(padded, start, self.batch_tokens)]
            try:
                with self._turns.turn(Lane.RERANK):
                    began = time.perf_counter()
                    scores[batch] = self._forward([(query, texts[index]) for index in batch])
                    lengths_here = padded[start : start + len(batch)]
                    self.usage = with_forward(self.usage, lengths_here, time.perf_counter() - began)
            except Exception as error:  # out of memory has no type of its own on a CPU
                if not is_out_of_memory(error):
                    raise
                self._shrink(len(batch), padded[start], error)
                continue
            start += len(batch)
        return scores

    def _forward(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        import torch

        kind = self.device.split(":", 1)[0]
        with torch.autocast(kind, getattr(torch, self.precision), enabled=self.precision != "float32"):
            found = self._model.predict(pairs, batch_size=len(pairs), convert_to_tensor=True, show_progress_bar=False)
        return found.float().cpu().numpy().reshape(-1)

    def _shrink(self, count: int, longest: int, error: Exception) -> None:
        release_memory(self.device)
        if count == 1:
            raise TransientError(
                f"The device {self.device!r} has not the memory to rerank one text of {longest} tokens.",
                "Free its memory, use a smaller model, or set device: cpu.",
            ) from error
        self.batch_tokens = max(1, count * longest // 2)


def _load(located: ModelFiles, device: str, trust_remote_code: bool, window: int):
    from sentence_transformers import CrossEncoder
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # standard error belongs to the pipeline's own progress
    try:
        model = CrossEncoder(
            str(located.path), device=device, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        raise PluginLoadError(
            f"sentence-transformers can't load the cross-encoder {located.name!r}: {error}."
        ) from error
    labels = model.config.num_labels
    if labels != 1:
        raise PluginLoadError(
            f"The cross-encoder {located.name!r} has {labels} outputs; a reranker needs one score.",
            "Use a model made for ranking.",
        )
    setattr(model, "max_seq_length" if hasattr(type(model), "max_seq_length") else "max_length", window)  # 6, 5
    return model
