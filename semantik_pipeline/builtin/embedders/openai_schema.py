"""The options of ``openai-compatible``. Operational options do not affect the vectors."""

from __future__ import annotations

from typing import Any

from semantik_pipeline.builtin.remote_model import HOW, remote_options

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["model"],
    "properties": {
        **remote_options(timeout=60, max_retries=3, within="within one call."),
        "base_url": {
            "type": "string",
            "default": "https://api.openai.com/v1",
            "description": "The address before /embeddings.",
            **HOW,
        },
        "dimensions": {"type": ["integer", "null"], "minimum": 1, "description": "Asked of the endpoint, and checked."},
        "query_prompt": {"type": "string", "default": "", "description": "Put before each query."},
        "document_prompt": {"type": "string", "default": "", "description": "Put before each text."},
        "max_input_tokens": {
            "type": "integer",
            "default": 8191,
            "minimum": 1,
            "description": "The model's window. Tokens are estimated at four bytes each.",
        },
        "batch_size": {"type": "integer", "default": 64, "minimum": 1, "description": "Texts in a request.", **HOW},
        "max_batch_tokens": {
            "type": "integer",
            "default": 100_000,
            "minimum": 1,
            "description": "Estimated tokens in a request.",
            **HOW,
        },
        "concurrency": {"type": "integer", "default": 4, "minimum": 1, "description": "Requests at once.", **HOW},
    },
}
