"""Pairs through sentence-transformers' CrossEncoder: BGE rerankers, and every other model that it can load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from semantik_pipeline.builtin.embedders.model_card import ModelCard, module_kinds
from semantik_pipeline.builtin.embedders.model_tokenizer import ModelTokenizer
from semantik_pipeline.builtin.rerankers.pairs import Pair, probability
from semantik_pipeline.errors import PluginLoadError

_DEFAULT_WINDOW = 512
# Special tokens around a pair if the model does not say: [CLS] query [SEP] text [SEP] are three; RoBERTa has four.
_PAIR_TOKENS = 4


class SentencePairs:
    """The general backend. Importing it takes 4 to 7 s."""

    name = "sentence-transformers"
    concurrent = False

    def __init__(
        self, card: ModelCard, *, device: str, precision: str, trust_remote_code: bool = False, instruction: str | None
    ) -> None:
        self.device = device
        self.precision = precision
        self.window = card.window or _DEFAULT_WINDOW
        _check_trained(card)
        self._tokenizer = ModelTokenizer(card.path)
        self._model = _load(card, device, trust_remote_code, self.window)
        self.parameters = sum(parameter.numel() for parameter in self._model.parameters())
        self._prompt = {"prompt": instruction} if instruction else {}
        self._around = self._special_tokens()

    def pairs(self, query: str, texts: Sequence[str]) -> list[Pair]:
        taken, *lengths = self._tokenizer.count([query, *texts])
        return [
            Pair(owner=owner, text=text, length=self._around + taken + length)
            for owner, (text, length) in enumerate(zip(texts, lengths, strict=True))
        ]

    def logits(self, query: str, pairs: Sequence[Pair]) -> np.ndarray:
        import torch

        kind = self.device.split(":", 1)[0]
        asked = [(query, pair.text) for pair in pairs]
        raw = {"activation_fn": torch.nn.Identity()} if self._is_logistic else {}
        with torch.autocast(kind, getattr(torch, self.precision), enabled=self.precision != "float32"):
            found = self._model.predict(
                asked, batch_size=len(asked), convert_to_tensor=True, show_progress_bar=False, **raw, **self._prompt
            )
        return found.double().cpu().numpy().reshape(-1)

    def shares(self, logits: np.ndarray) -> np.ndarray:
        return probability(logits) if self._is_logistic else logits

    @property
    def _is_logistic(self) -> bool:
        """Without an activation, logits are only good for ranking and need the logistic function; other activations
        produce the model's own scores."""
        return type(self._model.activation_fn).__name__ in ("Identity", "Sigmoid")

    def _special_tokens(self) -> int:
        preprocess = getattr(self._model, "preprocess", None)  # since sentence-transformers 5.4
        return preprocess([("", "")], **self._prompt)["input_ids"].shape[-1] if preprocess else _PAIR_TOKENS


def _check_trained(card: ModelCard) -> None:
    """Raise PluginLoadError for a folder without a cross-encoder. sentence-transformers would add a randomly
    initialized head to any other model, or ask any language model for ``yes``, and rank by that."""
    its_own = card.model_type == "CrossEncoder" and module_kinds(card.path)
    architectures = card.config.get("architectures") or []
    classifies = any(name.endswith("ForSequenceClassification") for name in architectures)
    if its_own or classifies or "AutoModelForSequenceClassification" in (card.config.get("auto_map") or {}):
        return
    raise PluginLoadError(
        f"The model in {card.path} was not made for ranking: it is a"
        f" {', '.join(architectures) or 'model of unknown kind'}"
        " without an output for the score.",
        "Use a cross-encoder; its config.json names ...ForSequenceClassification. For an embedding model, use the"
        " reranker late-interaction.",
    )


def _load(card: ModelCard, device: str, trust_remote_code: bool, window: int) -> Any:
    from sentence_transformers import CrossEncoder
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # standard error is reserved for the pipeline's own progress
    try:
        model = CrossEncoder(str(card.path), device=device, local_files_only=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        raise PluginLoadError(f"sentence-transformers can't load the cross-encoder in {card.path}: {error}.") from error
    labels = getattr(model, "num_labels", None) or model.config.num_labels
    if labels != 1:
        raise PluginLoadError(
            f"The cross-encoder in {card.path} has {labels} outputs; a reranker needs one score.",
            "Use a model made for ranking.",
        )
    model.eval()
    # The attribute's name in sentence-transformers 6 and 5.
    setattr(model, "max_seq_length" if hasattr(type(model), "max_seq_length") else "max_length", window)
    return model
