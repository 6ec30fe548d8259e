"""Models of a given shape with random weights, in the layout of sentence-transformers, for measuring speed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.corpora import sentences

VOCABULARY = 30522  # BERT's number of word embeddings; the tokenizer uses only some of them
WORDS = 8000  # tokens of the tokenizer, which is trained on the benchmarks' own sentences
POSITIONS = 512


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A BERT encoder: its layers, width, heads and window (tokens)."""

    layers: int
    width: int
    heads: int
    window: int


SHAPES = {
    "minilm": Shape(layers=6, width=384, heads=12, window=256),
    "bge-large": Shape(layers=24, width=1024, heads=16, window=512),
    "tiny": Shape(layers=2, width=64, heads=4, window=256),
}


def write_model(folder: Path, shape: Shape) -> Path:
    """Write a model, with a tokenizer trained on the sentences of :mod:`corpora`. Returns the folder."""
    import torch
    from transformers import BertModel

    torch.manual_seed(0)
    BertModel(_config(shape), add_pooling_layer=False).save_pretrained(folder)
    _write_tokenizer(folder, shape.window)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    _write(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(modules)
        ],
    )
    _write(folder / "sentence_bert_config.json", {"max_seq_length": shape.window, "do_lower_case": False})
    _write(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": shape.width, "pooling_mode_mean_tokens": True},
    )
    return folder


def write_cross_encoder(folder: Path, shape: Shape) -> Path:
    """Write a cross-encoder: the same with one output, for pairs of up to 512 tokens. Returns the folder."""
    import torch
    from transformers import BertForSequenceClassification

    torch.manual_seed(0)
    BertForSequenceClassification(_config(shape, num_labels=1)).save_pretrained(folder)
    _write_tokenizer(folder, POSITIONS)
    return folder


def _config(shape: Shape, **more: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.width,
        max_position_embeddings=POSITIONS,
        **more,
    )


def _write_tokenizer(folder: Path, window: int) -> None:
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import BertProcessing

    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator(sentences(), vocab_size=WORDS, show_progress=False)
    around = [(token, tokenizer.token_to_id(token)) for token in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = BertProcessing(*around)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "model_max_length": window, **names})
    tokenizer.save_model(str(folder))


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")
