"""Pairs through a language model that is asked for ``yes`` or ``no``: Qwen3-Reranker, with its authors' own prompt.

The score is the difference of two logits at the last token, so nothing is generated, and only two rows of the
vocabulary's weights are used. Models converted to a classifier (``Qwen3ForSequenceClassification``) have that
difference as their only output.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semantik_pipeline.builtin.embedders.model_card import ModelCard, module_kinds
from semantik_pipeline.builtin.rerankers.pairs import Pair, probability
from semantik_pipeline.errors import PluginLoadError

if TYPE_CHECKING:
    import torch

#: The prompt from the model's card; other wordings reduce quality.
HEAD = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    "provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
BODY = "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
TAIL = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"

#: The window in the card's example; the models support a longer one, but a reranker has no use for it.
WINDOW = 8192
ARCHITECTURES = ("Qwen3ForCausalLM", "Qwen3ForSequenceClassification")

log = logging.getLogger(__name__)


class PromptedPairs:
    """The backend of such a model. Text in a query or document that looks like a control token is read as ordinary
    characters, so that no document can end the question and answer it."""

    name = "prompted"
    concurrent = False

    def __init__(self, card: ModelCard, *, device: str, precision: str, instruction: str | None) -> None:
        import torch

        _tell_assumed(card)
        self.device = device
        # The weights were made in bfloat16. float16 has a smaller range, and an overflow would give no valid score.
        self.precision = "float32" if precision == "float16" else precision
        self.window = min(card.window or WINDOW, WINDOW)
        self._instruction = instruction or INSTRUCTION
        self._literal = _tokenizer(card)
        self._literal.encode_special_tokens = True  # encodes them as ordinary text
        framing = _tokenizer(card)
        self._head, self._tail = (framing.encode(part, add_special_tokens=False).ids for part in (HEAD, TAIL))
        model = _load(card, getattr(torch, self.precision)).to(device).eval()
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self._pad = card.config.get("pad_token_id") or 0
        self._model = model.base_model
        self._direction = _direction(model, card, framing)

    def pairs(self, query: str, texts: Sequence[str]) -> list[Pair]:
        filled = [BODY.format(instruction=self._instruction, query=query, document=text) for text in texts]
        encodings = self._literal.encode_batch_fast(filled, add_special_tokens=False)
        every = [[*self._head, *encoding.ids, *self._tail] for encoding in encodings]
        return [
            Pair(owner=owner, text=text, length=len(ids), ids=ids)
            for owner, (text, ids) in enumerate(zip(texts, every, strict=True))
        ]

    def logits(self, query: str, pairs: Sequence[Pair]) -> np.ndarray:
        """Pairs are padded on the left, so that each ends where the answer would start."""
        import torch

        longest = max(pair.length for pair in pairs)
        ids = np.full((len(pairs), longest), self._pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, pair in enumerate(pairs):
            ids[row, longest - pair.length :], mask[row, longest - pair.length :] = pair.ids, 1
        places = np.maximum(mask.cumsum(axis=1) - 1, 0)
        given = {"input_ids": ids, "attention_mask": mask, "position_ids": places}
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array).to(self.device) for name, array in given.items()}
            last = self._model(**tensors, use_cache=False).last_hidden_state[:, -1]
            return (last.float() @ self._direction).double().cpu().numpy()

    def shares(self, logits: np.ndarray) -> np.ndarray:
        return probability(logits)


def is_prompted(card: ModelCard) -> bool:
    """Whether the model must be asked this way; a model with modules of its own brings its prompt."""
    known = any(name in ARCHITECTURES for name in card.config.get("architectures") or ())
    return known and not module_kinds(card.path)


def _tell_assumed(card: ModelCard) -> None:
    """Log that the model is assumed to be a reranker: a language model's files don't say so, but its name may."""
    if _is_causal(card):
        level = logging.INFO if "rerank" in str(card.path).lower() else logging.WARNING
        told = "%s is a language model; it is treated as a Qwen3-Reranker, which ranks by yes or no"
        log.log(level, told, card.path)


def _tokenizer(card: ModelCard) -> Any:
    from tokenizers import Tokenizer

    try:
        found = Tokenizer.from_file(str(card.path / "tokenizer.json"))
    except Exception as error:  # the library raises bare Exception
        raise PluginLoadError(
            f"The tokenizer in {card.path} can't be read: {error}.", "Download the model again."
        ) from error
    found.no_truncation()
    found.no_padding()
    return found


def _load(card: ModelCard, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # standard error is reserved for the pipeline's own progress
    kind = AutoModelForCausalLM if _is_causal(card) else AutoModelForSequenceClassification
    try:
        return kind.from_pretrained(str(card.path), local_files_only=True, dtype=dtype)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        raise PluginLoadError(f"transformers can't load the reranker in {card.path}: {error}.") from error


def _is_causal(card: ModelCard) -> bool:
    return any(name.endswith("ForCausalLM") for name in card.config["architectures"])


def _direction(model: Any, card: ModelCard, tokenizer: Any) -> torch.Tensor:
    """(d,) float32: the product of this vector and the last hidden state is the logit."""
    if not _is_causal(card):
        rows = model.score.weight
        if len(rows) != 1:
            raise PluginLoadError(
                f"The reranker in {card.path} has {len(rows)} outputs; a reranker needs one score.",
                "Use a model made for ranking.",
            )
        return rows[0].detach().float()
    yes, no = (tokenizer.token_to_id(word) for word in ("yes", "no"))
    if yes is None or no is None:
        raise PluginLoadError(f"The tokenizer in {card.path} has no tokens for yes and no.", "Use a Qwen3-Reranker.")
    rows = model.get_output_embeddings().weight.detach()
    return rows[yes].float() - rows[no].float()
