"""The options that all chunkers share: their schema, and a check that their values fit together."""

from __future__ import annotations

from typing import Any

from semantik_pipeline.contracts import ChunkConfig
from semantik_pipeline.errors import PluginConfigError

BUDGET: dict[str, Any] = {
    "max_tokens": {
        "type": "integer",
        "minimum": 1,
        "default": 200,
        "description": "Maximum number of tokens in a chunk, counted with the embedding model's own tokenizer.",
    },
    "min_tokens": {
        "type": "integer",
        "minimum": 0,
        "default": 20,
        "description": "A chunk with fewer tokens is merged with a neighbour if the budget allows.",
    },
    "overlap_tokens": {
        "type": "integer",
        "minimum": 0,
        "default": 20,
        "description": "Maximum number of tokens that a chunk repeats from the previous one.",
    },
}
SEPARATORS: dict[str, Any] = {
    "type": ["array", "null"],
    "items": {"type": "string"},
    "default": None,
    "description": "Separators to split at, best first, instead of paragraphs, lines and sentences.",
}


def schema(**more: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a chunker: the budget and ``more`` properties. All of them affect the output."""
    return {"type": "object", "properties": {**BUDGET, **more}, "additionalProperties": False}


def checked(config: ChunkConfig) -> ChunkConfig:
    """Return the configuration that the host made from the collection's options. Raises PluginConfigError if its values
    contradict each other."""
    for name, value, least in (("max_tokens", config.max_tokens, 1), ("min_tokens", config.min_tokens, 0)):
        if not isinstance(value, int) or value < least:
            raise PluginConfigError(f"{name} is {value!r}; it must be a whole number of at least {least}.")
    most, overlap = config.max_tokens, config.overlap_tokens
    if not isinstance(overlap, int) or not 0 <= overlap < most:
        raise PluginConfigError(
            f"overlap_tokens is {overlap!r} with max_tokens {most}; it must be within 0..{most - 1}.",
            "Lower overlap_tokens or raise max_tokens.",
        )
    if config.min_tokens > most:
        raise PluginConfigError(
            f"min_tokens is {config.min_tokens} but max_tokens only {most}.", "Lower min_tokens or raise max_tokens."
        )
    return config


def option(config: ChunkConfig, plugin: dict[str, Any], name: str, default: Any) -> Any:
    """A chunker's own option: from ``config.options``, else from the plugin's configuration, else the default."""
    return config.options.get(name, plugin.get(name, default))
