"""Tiny models with random weights, in the layout of sentence-transformers. Created in milliseconds, without torch.

Their embeddings are meaningless but deterministic, which is enough to test the code around a model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "how",
    "do",
    "leases",
    "expire",
    "pipeline",
    "search",
    "vector",
    "index",
    "document",
    "chunk",
    "worker",
    "queue",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_LETTERS = [chr(code) for code in range(33, 127) if not chr(code).isupper()]


def write_tiny_embedder(
    folder: Path,
    *,
    seed: int = 0,
    width: int = 32,
    window: int = 48,
    pooling: str = "mean",
    normalize: bool = True,
    prompts: dict[str, str] | None = None,
    model_type: str = "bert",
) -> Path:
    """A two-layer BERT of ``width`` dimensions with a window of ``window`` tokens; returns the folder."""
    _write_encoder(folder, seed=seed, width=width, window=window, model_type=model_type, prefix="")
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    entries = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(modules[: 3 if normalize else 2])
    ]
    _write(folder / "modules.json", entries)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": window, "do_lower_case": False})
    _write(folder / "config_sentence_transformers.json", {"prompts": prompts or {}})
    modes = {"pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean"}
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **modes})
    return folder


def write_tiny_cross_encoder(
    folder: Path, *, seed: int = 0, width: int = 32, window: int = 48, labels: int = 1
) -> Path:
    """A two-layer BERT with a classifier of ``labels`` outputs on top; returns the folder."""
    random = np.random.default_rng(seed + 1)
    head = {
        "bert.pooler.dense.weight": random.normal(0, 0.5, (width, width)),
        "bert.pooler.dense.bias": np.zeros(width),
        "classifier.weight": random.normal(0, 0.5, (labels, width)),
        "classifier.bias": np.zeros(labels),
    }
    about = {"architectures": ["BertForSequenceClassification"], "id2label": {i: f"LABEL_{i}" for i in range(labels)}}
    _write_encoder(folder, seed=seed, width=width, window=window, prefix="bert.", about=about, head=head)
    return folder


def write_tiny_colbert(folder: Path, *, seed: int = 0, width: int = 32, vectors: int = 16, window: int = 48) -> Path:
    """A two-layer BERT whose token vectors are projected to ``vectors`` dimensions, in PyLate's layout: one prefix for
    queries and one for documents, queries padded with [MASK] to 12 tokens. Returns the folder."""
    from safetensors.numpy import save_file

    _write_encoder(folder, seed=seed, width=width, window=window, prefix="")
    entries = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
    ]
    _write(folder / "modules.json", entries)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": window, "do_lower_case": False})
    about = {"query_prefix": "how ", "document_prefix": "the ", "query_length": 12, "document_length": window}
    _write(
        folder / "config_sentence_transformers.json",
        {"model_type": "ColBERT", **about, "do_query_expansion": True, "attend_to_expansion_tokens": False},
    )
    activation = {"bias": False, "activation_function": "torch.nn.modules.linear.Identity"}
    _write(folder / "1_Dense" / "config.json", {"in_features": width, "out_features": vectors, **activation})
    projection = np.random.default_rng(seed + 2).normal(0, 1 / np.sqrt(width), (vectors, width)).astype(np.float32)
    save_file({"linear.weight": projection}, folder / "1_Dense" / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_tiny_sparse_encoder(folder: Path, *, seed: int = 0, width: int = 32, window: int = 48) -> Path:
    """A two-layer BERT that predicts masked words, like the models that SPLADE is trained from; returns the folder."""
    random = np.random.default_rng(seed + 2)
    size = len(SPECIAL) + 2 * len(_LETTERS) + len(WORDS)
    head = {
        "cls.predictions.transform.dense.weight": random.normal(0, 0.3, (width, width)),
        "cls.predictions.transform.dense.bias": np.zeros(width),
        "cls.predictions.transform.LayerNorm.weight": np.ones(width),
        "cls.predictions.transform.LayerNorm.bias": np.zeros(width),
        "cls.predictions.decoder.weight": random.normal(0, 0.5, (size, width)),
        "cls.predictions.decoder.bias": random.normal(0, 0.1, size),
        "cls.predictions.bias": random.normal(0, 0.1, size),
    }
    about = {"architectures": ["BertForMaskedLM"], "tie_word_embeddings": False}
    _write_encoder(folder, seed=seed, width=width, window=window, prefix="bert.", about=about, head=head)
    return folder


def _write_encoder(
    folder: Path,
    *,
    seed: int,
    width: int,
    window: int,
    prefix: str,
    model_type: str = "bert",
    about: dict[str, Any] | None = None,
    head: dict[str, np.ndarray] | None = None,
) -> None:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    size = _write_tokenizer(folder, window)
    config = {
        "architectures": ["BertModel"],
        "model_type": model_type,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": size,
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    _write(folder / "config.json", {**config, **(about or {})})
    tensors = {prefix + name: tensor for name, tensor in _encoder(config, seed).items()} | (head or {})
    save_file(
        {name: np.ascontiguousarray(tensor, dtype=np.float32) for name, tensor in tensors.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )


def _encoder(config: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    width, wide = config["hidden_size"], config["intermediate_size"]
    tensors: dict[str, np.ndarray] = {}

    def linear(name: str, rows: int, columns: int) -> None:
        tensors[f"{name}.weight"] = random.normal(0, 1 / np.sqrt(columns), (rows, columns))
        tensors[f"{name}.bias"] = random.normal(0, 0.1, rows)

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = random.uniform(0.5, 1.5, width)
        tensors[f"{name}.bias"] = random.normal(0, 0.1, width)

    for name, rows in (
        ("word", "vocab_size"),
        ("position", "max_position_embeddings"),
        ("token_type", "type_vocab_size"),
    ):
        tensors[f"embeddings.{name}_embeddings.weight"] = random.normal(0, 0.5, (config[rows], width))
    norm("embeddings.LayerNorm")
    for layer in (f"encoder.layer.{index}" for index in range(config["num_hidden_layers"])):
        for part in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{part}", width, width)
        linear(f"{layer}.attention.output.dense", width, width)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", wide, width)
        linear(f"{layer}.output.dense", width, wide)
        norm(f"{layer}.output.LayerNorm")
    return tensors


def _write_tokenizer(folder: Path, window: int) -> int:
    """A WordPiece tokenizer that knows a few words and every printable ASCII character; returns its size."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokens = [*SPECIAL, *_LETTERS, *(f"##{letter}" for letter in _LETTERS), *WORDS]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("\n".join(tokens), "utf-8")
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "model_max_length": window, **names})
    _write(folder / "special_tokens_map.json", names)
    return len(tokens)


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")
