"""A cross-encoder in memory: pairs in length-sorted micro-batches, long texts split into parts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from semantik_pipeline.builtin.embedders.device_turns import Lane
from semantik_pipeline.builtin.embedders.loaded_model import ModelOptions
from semantik_pipeline.builtin.embedders.micro_batches import MicroBatches
from semantik_pipeline.builtin.embedders.model_card import read_model_card
from semantik_pipeline.builtin.embedders.model_tokenizer import ModelTokenizer
from semantik_pipeline.builtin.embedders.precision import choose_device, choose_precision
from semantik_pipeline.builtin.embedders.surrogates import without_surrogates
from semantik_pipeline.builtin.rerankers.light_pairs import LightPairs, is_light
from semantik_pipeline.builtin.rerankers.pairs import Pair, PairBackend, cut
from semantik_pipeline.builtin.rerankers.prompted_pairs import PromptedPairs, is_prompted
from semantik_pipeline.builtin.rerankers.sentence_pairs import SentencePairs
from semantik_pipeline.contracts.models import ModelFiles

log = logging.getLogger(__name__)


class LoadedCrossEncoder(MicroBatches):
    """Methods block; any thread may call them."""

    def __init__(self, located: ModelFiles, options: ModelOptions, instruction: str | None = None) -> None:
        self.backend = _backend(located, options, instruction)
        super().__init__(
            device=self.backend.device,
            key=f"{located.path} {id(self)}",
            batch_tokens=options.max_batch_tokens,
            concurrent=self.backend.concurrent,
        )
        self._tokenizer = ModelTokenizer(located.path)

    def scores(self, query: str, texts: Sequence[str], stop: threading.Event | None = None) -> np.ndarray:
        """(n,) float64 within 0..1: each text's score with the query; a text read in parts gets its best part's score.

        CancelledError is raised soon after ``stop`` is set.
        """
        query = self._fitting_query(without_surrogates(query))
        pairs = self._pairs(query, [without_surrogates(text) for text in texts])
        lengths = [pair.length for pair in pairs]
        forward = lambda batch: list(self.backend.logits(query, batch))  # noqa: E731  # one line, used once
        logits = np.array(self.through(pairs, lengths, forward, lane=Lane.RERANK, stop=stop))
        best = np.full(len(texts), -np.inf)
        np.maximum.at(best, [pair.owner for pair in pairs], logits)
        return self.backend.shares(best)

    def _pairs(self, query: str, texts: Sequence[str]) -> list[Pair]:
        """The query with each text, or with each part of a text that does not fit the window with it."""
        whole = self.backend.pairs(query, texts)
        fitting = [pair for pair in whole if pair.length <= self.backend.window]
        if len(fitting) == len(whole):
            return fitting
        room = max(1, self.backend.window - self.backend.pairs(query, [""])[0].length)
        for pair in whole:
            if pair.length > self.backend.window:
                parts = self.backend.pairs(query, self._tokenizer.split(pair.text, room))
                fitting += [cut(replace(part, owner=pair.owner), self.backend.window) for part in parts]
        return fitting

    def _fitting_query(self, query: str) -> str:
        """The query, or the first part of a query that would leave less than half the window for a text."""
        taken = self.backend.pairs("", [""])[0].length
        first, *rest = self._tokenizer.split(query, max(1, self.backend.window // 2 - taken))
        if rest:
            told = "the query is too long for the cross-encoder: it reads the first %d tokens"
            log.warning(told, self.backend.window // 2 - taken)
        return first


def _backend(located: ModelFiles, options: ModelOptions, instruction: str | None) -> PairBackend:
    """The fastest backend that supports this model."""
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    card = read_model_card(located.path)
    if is_prompted(card):
        return PromptedPairs(card, device=device, precision=precision, instruction=instruction)
    if is_light(located.path, card.config):
        return LightPairs(card, device=device, precision=precision)
    trusted = options.trust_remote_code
    return SentencePairs(card, device=device, precision=precision, trust_remote_code=trusted, instruction=instruction)
