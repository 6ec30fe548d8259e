"""The options that all chunkers share: their schema, and their values checked against each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from semantik_pipeline.contracts import ChunkConfig, HealthState, HealthStatus
from semantik_pipeline.errors import PluginConfigError

BUDGET: dict[str, Any] = {
    "max_tokens": {
        "type": "integer",
        "minimum": 1,
        "default": 200,
        "description": "The most tokens of a chunk, by the embedding model's own tokenizer.",
    },
    "min_tokens": {
        "type": "integer",
        "minimum": 0,
        "default": 20,
        "description": "A smaller chunk is merged with a neighbour where the budget allows.",
    },
    "overlap_tokens": {
        "type": "integer",
        "minimum": 0,
        "default": 20,
        "description": "The most tokens that a chunk repeats of the one before it.",
    },
}
SEPARATORS: dict[str, Any] = {
    "type": ["array", "null"],
    "items": {"type": "string"},
    "default": None,
    "description": "Where to split, best first, instead of paragraphs, lines and sentences.",
}


def schema(**more: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a chunker: the budget and ``more`` properties. All of them shape the output."""
    return {"type": "object", "properties": {**BUDGET, **more}, "additionalProperties": False}


def resolved(config: ChunkConfig) -> ChunkConfig:
    """The configuration with ``config.options`` over its fields. Raises PluginConfigError where values contradict."""
    names = ("max_tokens", "min_tokens", "overlap_tokens", "separators", "semantic_threshold")
    chosen = {name: config.options[name] for name in names if name in config.options}
    config = replace(config, **chosen) if chosen else config
    _check(config.max_tokens, config.min_tokens, config.overlap_tokens)
    return config


def _check(max_tokens: int, min_tokens: int, overlap_tokens: int) -> None:
    for name, value, least in (("max_tokens", max_tokens, 1), ("min_tokens", min_tokens, 0)):
        if not isinstance(value, int) or value < least:
            raise PluginConfigError(f"{name} is {value!r}; it must be a whole number of at least {least}.")
    if not isinstance(overlap_tokens, int) or not 0 <= overlap_tokens < max_tokens:
        raise PluginConfigError(
            f"overlap_tokens is {overlap_tokens!r} with max_tokens {max_tokens}; it must lie in 0..{max_tokens - 1}.",
            "Lower overlap_tokens or raise max_tokens.",
        )
    if min_tokens > max_tokens:
        raise PluginConfigError(
            f"min_tokens is {min_tokens} but max_tokens only {max_tokens}.", "Lower min_tokens or raise max_tokens."
        )


def health(config: dict[str, Any] | None) -> HealthStatus:
    """Healthy, or the contradiction in the budget."""
    values = {name: (config or {}).get(name, BUDGET[name]["default"]) for name in BUDGET}
    try:
        _check(**values)
    except PluginConfigError as error:
        return HealthStatus(HealthState.UNHEALTHY, str(error))
    return HealthStatus(HealthState.HEALTHY)


def option(config: ChunkConfig, plugin: dict[str, Any], name: str, default: Any) -> Any:
    """A chunker's own option: from ``config.options``, else the plugin's configuration, else the default."""
    return config.options.get(name, plugin.get(name, default))
