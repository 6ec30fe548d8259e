"""Pairs through :class:`PairBert`. A cold start takes a second or two, because neither transformers nor
sentence-transformers is imported; each text is tokenized once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semantik_pipeline.builtin.embedders.model_card import ModelCard, is_plain_bert, module_kinds
from semantik_pipeline.builtin.embedders.model_tokenizer import ModelTokenizer
from semantik_pipeline.builtin.embedders.traced_forward import TracedForward
from semantik_pipeline.builtin.rerankers.pair_bert import PairBert
from semantik_pipeline.builtin.rerankers.pairs import Pair, probability

if TYPE_CHECKING:
    import torch

_DEFAULT_WINDOW = 512


class LightPairs:
    """The backend of a plain BERT with one output, such as the MS MARCO MiniLMs."""

    name = "light"
    concurrent = True

    def __init__(self, card: ModelCard, *, device: str, precision: str) -> None:
        import torch

        self.device = device
        self.precision = precision
        self.window = card.window or _DEFAULT_WINDOW
        self._pad = card.config.get("pad_token_id") or 0
        self._tokenizer = ModelTokenizer(card.path)
        model = PairBert(card.path, card.config, device=device, dtype=getattr(torch, precision))
        self.parameters = model.parameters
        self._forward = TracedForward(model.logits, self._example)

    def pairs(self, query: str, texts: Sequence[str]) -> list[Pair]:
        encoded = self._tokenizer.pairs(query, texts)
        return [
            Pair(owner=owner, text=text, length=len(ids), ids=ids, kinds=kinds)
            for owner, (text, (ids, kinds)) in enumerate(zip(texts, encoded, strict=True))
        ]

    def logits(self, query: str, pairs: Sequence[Pair]) -> np.ndarray:
        import torch

        longest = max(pair.length for pair in pairs)
        ids = np.full((len(pairs), longest), self._pad, dtype=np.int64)
        kinds = np.zeros_like(ids)
        for row, pair in enumerate(pairs):
            ids[row, : pair.length], kinds[row, : pair.length] = pair.ids, pair.kinds
        tensors = (torch.from_numpy(ids), torch.from_numpy(kinds), torch.tensor([pair.length for pair in pairs]))
        with torch.inference_mode():
            return self._forward(*(tensor.to(self.device) for tensor in tensors)).double().cpu().numpy()

    def shares(self, logits: np.ndarray) -> np.ndarray:
        return probability(logits)

    def _example(self) -> tuple[torch.Tensor, ...]:
        import torch

        kinds = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]] * 2)
        example = (torch.ones(2, 8, dtype=torch.long), kinds, torch.tensor([8, 6]))
        return tuple(tensor.to(self.device) for tensor in example)


def is_light(path: Path, config: dict[str, Any]) -> bool:
    """Whether the model in this folder is a plain BERT with one output whose score is a logit, and its tokenizer file
    defines how a pair is put together ([CLS] query [SEP] text [SEP])."""
    return (
        config.get("architectures") == ["BertForSequenceClassification"]
        and len(config.get("id2label") or ()) == 1
        and module_kinds(path) in ([], ["Transformer"])
        and is_plain_bert(path, config)
        and _activation(config) in ("", "Sigmoid", "Identity")
        and ModelTokenizer(path).pair_special_count == 3
    )


def _activation(config: dict[str, Any]) -> str:
    """The class name of the model's output activation; sentence-transformers has stored it in two places."""
    said = (config.get("sentence_transformers") or {}).get("activation_fn")
    said = said or config.get("sbert_ce_default_activation_function") or ""
    return said.rsplit(".", 1)[-1]
