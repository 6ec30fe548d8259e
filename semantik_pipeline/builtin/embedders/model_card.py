"""A model's dimension, window, prompts and pooling, read from its own files without loading the weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantik_pipeline.builtin.embedders.file_digest import file_digest
from semantik_pipeline.errors import PluginLoadError

WEIGHTS = ("*.safetensors", "*.bin", "*.pt")
# sentence-transformers looks for a document's prompt under these names, in this order.
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
# tokenizer_config.json contains 10^30 where it means "no limit".
_UNLIMITED = 1_000_000
_LEGACY_POOLING = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """``window`` in tokens, special ones included. ``pooling`` is ``mean`` or ``cls`` where the light backend supports
    the whole model (``is_light``), else None. ``normalizes``: the model's last module makes unit vectors.
    ``model_type``: the class of sentence-transformers or PyLate that saved the model, if the files name it."""

    path: Path
    config: dict[str, Any]
    dimension: int | None
    window: int | None
    query_prompt: str
    document_prompt: str
    pooling: str | None
    normalizes: bool
    is_light: bool
    model_type: str | None = None


def read_model_card(path: Path) -> ModelCard:
    """Read the card of a model in sentence-transformers or transformers layout.

    Raises PluginLoadError if one of its files is not valid JSON.
    """
    config = _read(path / "config.json")
    modules = [(entry["type"].rsplit(".", 1)[-1], path / entry["path"]) for entry in _modules(path)]
    kinds = module_kinds(path)
    pooling = _read(modules[kinds.index("Pooling")][1] / "config.json") if "Pooling" in kinds else {}
    mode = _pooling_mode(pooling) if modules else "mean"
    prompts = _read(path / "config_sentence_transformers.json")
    light = (not modules or kinds in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])) and (
        is_plain_bert(path, config) and mode is not None and pooling.get("include_prompt", True)
    )
    return ModelCard(
        path=path,
        config=config,
        dimension=_dimension(config, modules, pooling),
        window=_window(path, config),
        query_prompt=_prompt(prompts, ("query",)),
        document_prompt=_prompt(prompts, _DOCUMENT_PROMPTS),
        pooling=mode,
        normalizes="Normalize" in kinds,
        is_light=bool(light) and not prompts.get("truncate_dim"),
        model_type=prompts.get("model_type"),
    )


def module_kinds(path: Path) -> list[str]:
    """The class names in ``modules.json``, in order; empty if the file does not exist."""
    return [entry["type"].rsplit(".", 1)[-1] for entry in _modules(path)]


def model_revision(path: Path) -> str:
    """16 hex digits computed from every configuration and weights file of the model, independent of its location."""
    small = [file for file in path.rglob("*.json") if file.name != "data_config.json" and not _hidden(file, path)]
    # Only one set of weights counts: the first pattern with a match, because the loaders prefer safetensors.
    weights = next((found for pattern in WEIGHTS if (found := [*path.glob(pattern), *path.glob(f"*/{pattern}")])), [])
    lines = sorted(f"{file.relative_to(path)} {file_digest(file)}" for file in {*small, *weights})
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _hidden(file: Path, root: Path) -> bool:
    return any(part.startswith(".") or part in ("onnx", "openvino") for part in file.relative_to(root).parts)


def _read(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.is_file() else {}


def _modules(path: Path) -> list[dict[str, Any]]:
    return _read_json(path / "modules.json") if (path / "modules.json").is_file() else []


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise PluginLoadError(f"The model file {path} can't be read: {error}.", "Download the model again.") from None


def _pooling_mode(pooling: dict[str, Any]) -> str | None:
    """``mean`` or ``cls``; None for modes that the light backend does not support."""
    if "pooling_mode" in pooling:
        return pooling["pooling_mode"] if pooling["pooling_mode"] in ("mean", "cls") else None
    active = [key for key, value in pooling.items() if key.startswith("pooling_mode_") and value]
    return _LEGACY_POOLING.get(active[0]) if len(active) == 1 else None


def is_plain_bert(path: Path, config: dict[str, Any]) -> bool:
    """Whether ``bert.py`` can run the encoder of the model in this folder, and tokenizers can tokenize its texts."""
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") in ("absolute", None)
        and not config.get("is_decoder")
        and not _read(path / "sentence_bert_config.json").get("do_lower_case")
        and (path / "model.safetensors").is_file()
        and (path / "tokenizer.json").is_file()
    )


def _dimension(config: dict[str, Any], modules: list[tuple[str, Path]], pooling: dict[str, Any]) -> int | None:
    for kind, folder in reversed(modules):
        if kind == "Dense":
            return _read(folder / "config.json").get("out_features")
    if pooling and _pooling_mode(pooling) is None:
        return None  # several poolings are concatenated: the dimension is known after one forward pass
    return pooling.get("embedding_dimension") or pooling.get("word_embedding_dimension") or config.get("hidden_size")


def _window(path: Path, config: dict[str, Any]) -> int | None:
    """The smallest limit in the files. RoBERTa-like models lose the positions up to their padding index."""
    positions = config.get("max_position_embeddings")
    if positions and config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        positions -= (config.get("pad_token_id") or 0) + 1
    said = [
        _read(path / "sentence_bert_config.json").get("max_seq_length"),
        _read(path / "tokenizer_config.json").get("model_max_length"),
        positions,
    ]
    limits = [int(limit) for limit in said if limit and 0 < limit < _UNLIMITED]
    return min(limits) if limits else None


def _prompt(config: dict[str, Any], names: tuple[str, ...]) -> str:
    prompts = config.get("prompts") or {}
    for name in (*names, config.get("default_prompt_name")):
        if name in prompts:
            return prompts[name] or ""
    return ""
