"""A model in memory, shared by all plugins of this process that use it, and how work is run through it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

from semantik_pipeline.builtin.embedders.device_turns import Lane
from semantik_pipeline.builtin.embedders.micro_batches import MicroBatches
from semantik_pipeline.builtin.embedders.model_card import ModelCard, read_model_card
from semantik_pipeline.builtin.embedders.model_tokenizer import ModelTokenizer, Window
from semantik_pipeline.builtin.embedders.precision import choose_device, choose_precision
from semantik_pipeline.contracts.models import ModelFiles

if TYPE_CHECKING:
    import numpy as np
    import torch


class Backend(Protocol):
    """Turns windows into vectors, one micro-batch at a time."""

    name: str
    device: str
    precision: str
    parameters: int
    concurrent: bool  # whether several threads may call it at once

    def embed(self, windows: Sequence[Window], prompt: str) -> np.ndarray: ...

    def states(self, windows: Sequence[Window], depth: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How a model is loaded. None of these options changes its vectors beyond rounding (see ``precision.py``)."""

    device: str = "auto"
    precision: str = "auto"
    max_batch_tokens: int | None = None
    trust_remote_code: bool = False

    @classmethod
    def of(cls, config: dict[str, Any]) -> ModelOptions:
        """Read the options from a plugin's configuration."""
        return cls(
            device=config.get("device") or "auto",
            precision=config.get("precision") or "auto",
            max_batch_tokens=config.get("max_batch_tokens"),
            trust_remote_code=bool(config.get("trust_remote_code")),
        )


class LoadedModel(MicroBatches):
    """A backend with its tokenizer. Methods block; any thread may call them."""

    def __init__(self, card: ModelCard, backend: Backend, tokenizer: ModelTokenizer) -> None:
        key = f"{card.path} {backend.device} {backend.precision}"
        super().__init__(device=backend.device, key=key, concurrent=backend.concurrent)
        self.card = card
        self.backend = backend
        self.tokenizer = tokenizer

    def vectors(
        self,
        windows: Sequence[Window],
        prompt: str = "",
        *,
        lane: Lane = Lane.BULK,
        stop: threading.Event | None = None,
    ) -> np.ndarray:
        """(n, d) float32, in the order of the windows. CancelledError is raised soon after ``stop`` is set."""
        import numpy as np

        lengths = [len(window.ids) for window in windows]
        forward = lambda batch: list(self.backend.embed(batch, prompt))  # noqa: E731  # one line, used once
        return np.stack(self.through(windows, lengths, forward, lane=lane, stop=stop))

    def read(
        self,
        windows: Sequence[Window],
        look: Callable[[torch.Tensor, torch.Tensor, Sequence[Window]], Sequence[Any]],
        *,
        depth: float = 1.0,
        stop: threading.Event | None = None,
    ) -> list[Any]:
        """Return what ``look`` computes for each window; used for reranking.

        ``look`` gets three arguments: the hidden states of some windows after the share ``depth`` of the model's
        layers, (windows, tokens, d) float32 on the model's device; a mask (windows, tokens) that is true at real
        tokens; and the windows themselves. A backend that cannot stop early passes the last states.
        """
        import torch

        def forward(batch: list[Window]) -> Sequence[Any]:
            with torch.inference_mode():
                return look(*self.backend.states(batch, depth), batch)

        return self.through(windows, [len(window.ids) for window in windows], forward, lane=Lane.RERANK, stop=stop)


_loaded: WeakValueDictionary[tuple, LoadedModel] = WeakValueDictionary()
_loading = threading.Lock()


def load_model(located: ModelFiles, options: ModelOptions) -> LoadedModel:
    """Return the model that this process already holds in memory, or load it. It is freed when nothing refers to it.

    Of plugins that share it, the smallest ``max_batch_tokens`` counts; a budget that was halved because memory ran out
    stays.
    """
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    key = (located.path, device, precision, options.trust_remote_code)
    with _loading:
        model = _loaded.get(key)
        if model is None:
            model = _loaded[key] = _load(located, device, precision, options.trust_remote_code)
            model.batch_tokens = options.max_batch_tokens or model.batch_tokens
        elif options.max_batch_tokens:
            model.batch_tokens = min(model.batch_tokens, options.max_batch_tokens)
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
