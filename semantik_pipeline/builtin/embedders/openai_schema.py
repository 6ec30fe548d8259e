"""The options of ``openai-compatible``. Those marked operational say how, not what."""

from __future__ import annotations

from typing import Any

_HOW = {"x-operational": True}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["model"],
    "properties": {
        "base_url": {
            "type": "string",
            "default": "https://api.openai.com/v1",
            "description": "The address before /embeddings.",
            **_HOW,
        },
        "model": {"type": "string", "description": "The model's name at the endpoint."},
        "api_key": {"type": ["string", "null"], "secret": True, "description": "Give api_key_env: NAME.", **_HOW},
        "dimensions": {"type": ["integer", "null"], "minimum": 1, "description": "Asked of the endpoint, and checked."},
        "query_prompt": {"type": "string", "default": "", "description": "Put before each query."},
        "document_prompt": {"type": "string", "default": "", "description": "Put before each text."},
        "max_input_tokens": {
            "type": "integer",
            "default": 8191,
            "minimum": 1,
            "description": "The model's window. Tokens are estimated at four bytes each.",
        },
        "batch_size": {"type": "integer", "default": 64, "minimum": 1, "description": "Texts in a request.", **_HOW},
        "max_batch_tokens": {
            "type": "integer",
            "default": 100_000,
            "minimum": 1,
            "description": "Estimated tokens in a request.",
            **_HOW,
        },
        "concurrency": {"type": "integer", "default": 4, "minimum": 1, "description": "Requests at once.", **_HOW},
        "timeout": {"type": "number", "default": 60, "exclusiveMinimum": 0, "description": "Seconds.", **_HOW},
        "max_retries": {
            "type": "integer",
            "default": 3,
            "minimum": 0,
            "description": "Tries after 429, 5xx or a lost connection, within one call.",
            **_HOW,
        },
    },
}


def option(config: dict[str, Any], name: str) -> Any:
    """The configured value, else the schema's default."""
    value = config.get(name)
    return SCHEMA["properties"][name].get("default") if value is None else value
