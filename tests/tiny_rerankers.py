"""Tiny rerankers with random weights in the architectures of BGE and Qwen3, created by transformers in a second.

Their scores are meaningless but deterministic: enough to test the code around a model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from semantik_pipeline.testing.tiny_models import WORDS

_WINDOW = 48


def write_tiny_bge(folder: Path, *, window: int = _WINDOW) -> Path:
    """Write an XLM-RoBERTa with one output, like the BGE rerankers: four special tokens in a pair, no token types."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    letters = [chr(code) for code in range(33, 127)]
    vocabulary = {token: id for id, token in enumerate([*special, *letters, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(special)
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=window + 2,
        type_vocab_size=1,
    )
    config.num_labels = 1
    return _saved(
        XLMRobertaForSequenceClassification(config),
        tokenizer,
        folder,
        tokenizer_class="PreTrainedTokenizerFast",
        model_max_length=window,
        model_input_names=["input_ids", "attention_mask"],
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
    )


def write_tiny_qwen3(folder: Path, *, classifier: bool = False) -> Path:
    """Write a Qwen3 like the Qwen3-Rerankers: a language model with control tokens and the words ``yes`` and ``no``.

    A ``classifier`` instead has one output, which equals the difference of the logits of these words.
    """
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3ForSequenceClassification

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, "ye", "yes", "no"]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [("y", "e"), ("ye", "s"), ("n", "o")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in ("<think>", "</think>")])
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
        max_position_embeddings=1024,
        pad_token_id=tokenizer.token_to_id("<|endoftext|>"),
        tie_word_embeddings=True,
        initializer_range=0.4,
    )
    config.num_labels = 1
    model: Any = Qwen3ForCausalLM(config)
    if classifier:
        rows = model.get_output_embeddings().weight.detach()
        converted = Qwen3ForSequenceClassification(config)
        converted.model.load_state_dict(model.model.state_dict())
        difference = rows[tokenizer.token_to_id("yes")] - rows[tokenizer.token_to_id("no")]
        converted.score.weight.data = difference.unsqueeze(0).clone()
        model = converted
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1024, "pad_token": "<|endoftext|>"}
    return _saved(model, tokenizer, folder, **about)


def _saved(model: Any, tokenizer: Any, folder: Path, **about: Any) -> Path:
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(about), "utf-8")
    return folder
