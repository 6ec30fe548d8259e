"""A model in memory, shared by the plugins of this process that use it, and how work gets through it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

from semantik_pipeline.builtin.embedders.device_turns import DeviceTurns, Lane
from semantik_pipeline.builtin.embedders.model_card import ModelCard, read_model_card
from semantik_pipeline.builtin.embedders.model_tokenizer import ModelTokenizer, Window
from semantik_pipeline.builtin.embedders.out_of_memory import release_memory
from semantik_pipeline.builtin.embedders.precision import choose_device, choose_precision
from semantik_pipeline.builtin.embedders.token_batches import batch_end, longest_first
from semantik_pipeline.contracts.models import ModelFiles, ModelUsage, is_out_of_memory
from semantik_pipeline.errors import OutOfMemory

if TYPE_CHECKING:
    import numpy as np

# Tokens of a micro-batch, padding included. CPU: throughput is flat from 1,024 to 16,384 tokens (measured), and a
# query waits for one micro-batch. A GPU needs wide batches to be busy.
CPU_BATCH_TOKENS = 2048
GPU_BATCH_TOKENS = 65_536
# Reranking on a CPU: a deadline is kept, and a query waits, to within one micro-batch (0.2 s without bf16).
CPU_RERANK_TOKENS = 1024


class Backend(Protocol):
    """What turns windows into vectors, one micro-batch at a time."""

    name: str
    device: str
    precision: str
    parameters: int

    def embed(self, windows: Sequence[Window], prompt: str) -> np.ndarray: ...

    def token_vectors(self, windows: Sequence[Window]) -> list[np.ndarray]: ...


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How a model is loaded; none of it shapes its vectors beyond rounding (see ``precision.py``)."""

    device: str = "auto"
    precision: str = "auto"
    max_batch_tokens: int | None = None
    trust_remote_code: bool = False

    @classmethod
    def of(cls, config: dict[str, Any]) -> ModelOptions:
        """The part of a plugin's configuration that says how, not what."""
        return cls(
            device=config.get("device") or "auto",
            precision=config.get("precision") or "auto",
            max_batch_tokens=config.get("max_batch_tokens"),
            trust_remote_code=bool(config.get("trust_remote_code")),
        )


class LoadedModel:
    """A backend with its tokenizer, its token budget, its turns, and the count of what it did. Methods block; any thread
    may call them."""

    def __init__(self, card: ModelCard, backend: Backend, tokenizer: ModelTokenizer) -> None:
        self.card = card
        self.backend = backend
        self.tokenizer = tokenizer
        self.turns = DeviceTurns()
        self.batch_tokens = CPU_BATCH_TOKENS if backend.device == "cpu" else GPU_BATCH_TOKENS
        self.usage = ModelUsage(key=f"{card.path} {backend.device} {backend.precision}")  # replaced within a turn

    def vectors(
        self,
        windows: Sequence[Window],
        prompt: str = "",
        *,
        lane: Lane = Lane.BULK,
        stop: threading.Event | None = None,
    ) -> np.ndarray:
        """(n, d) float32, in the order of the windows; CancelledError soon after ``stop`` is set."""
        import numpy as np

        return np.stack(self._through(windows, lambda batch: list(self.backend.embed(batch, prompt)), lane, stop))

    def token_vectors(self, windows: Sequence[Window], *, stop: threading.Event | None = None) -> list[np.ndarray]:
        """For each window (tokens, d) float32, special tokens included; for reranking."""
        return self._through(windows, self.backend.token_vectors, Lane.RERANK, stop)

    def _through(
        self,
        windows: Sequence[Window],
        forward: Callable[[list[Window]], list[np.ndarray]],
        lane: Lane,
        stop: threading.Event | None,
    ) -> list[np.ndarray]:
        order = longest_first([len(window.ids) for window in windows])
        lengths = [len(windows[index].ids) for index in order]
        results: list[Any] = [None] * len(windows)
        start = 0
        while start < len(order):
            if stop and stop.is_set():
                raise CancelledError
            end = batch_end(lengths, start, self._budget(lane))
            batch = order[start:end]
            try:
                with self.turns.turn(lane):
                    began = time.perf_counter()
                    found = forward([windows[index] for index in batch])
                    self.usage = with_forward(self.usage, lengths[start:end], time.perf_counter() - began)
            except Exception as error:  # out of memory has no type of its own on a CPU
                if not is_out_of_memory(error):
                    raise
                self._shrink(len(batch), lengths[start], error)
                continue
            for index, vector in zip(batch, found, strict=True):
                results[index] = vector
            start = end
        return results

    def _budget(self, lane: Lane) -> int:
        """Tokens of a micro-batch, padding included."""
        small = lane is Lane.RERANK and self.backend.device == "cpu"
        return min(self.batch_tokens, CPU_RERANK_TOKENS) if small else self.batch_tokens

    def _shrink(self, count: int, longest: int, error: Exception) -> None:
        """Halve the token budget for good; one text that doesn't fit alone is the end of it."""
        release_memory(self.backend.device)
        if count == 1:
            raise OutOfMemory(
                f"The device {self.backend.device!r} has not the memory to embed one text of {longest} tokens.",
                "Free its memory, use a smaller model, or set device: cpu.",
            ) from error
        self.batch_tokens = max(1, count * longest // 2)


def with_forward(usage: ModelUsage, lengths: Sequence[int], seconds: float) -> ModelUsage:
    """The usage with one more forward, over texts of these lengths in tokens."""
    return replace(
        usage,
        tokens=usage.tokens + sum(lengths),
        padded_tokens=usage.padded_tokens + len(lengths) * max(lengths, default=0),
        busy_seconds=usage.busy_seconds + seconds,
    )


_loaded: WeakValueDictionary[tuple, LoadedModel] = WeakValueDictionary()
_loading = threading.Lock()


def load_model(located: ModelFiles, options: ModelOptions) -> LoadedModel:
    """The model in memory: the one that this process has, or a new one. It stays while someone holds it."""
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    key = (located.path, device, precision, options.trust_remote_code)
    with _loading:
        model = _loaded.get(key)
        if model is None:
            model = _loaded[key] = _load(located, device, precision, options.trust_remote_code)
    if options.max_batch_tokens:
        model.batch_tokens = options.max_batch_tokens
    return model


def _load(located: ModelFiles, device: str, precision: str, trust_remote_code: bool) -> LoadedModel:
    from semantik_pipeline.builtin.embedders.bert_backend import BertBackend
    from semantik_pipeline.builtin.embedders.sentence_backend import SentenceBackend

    card = read_model_card(located.path)
    if card.is_light:
        backend: Backend = BertBackend(card, device=device, precision=precision)
    else:
        backend = SentenceBackend(card, device=device, precision=precision, trust_remote_code=trust_remote_code)
    return LoadedModel(card, backend, ModelTokenizer(located.path))
