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
            "description": "URL of the API, without /embeddings.",
            **HOW,
        },
        "dimensions": {
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "Dimensions to request from the endpoint; its answers are checked.",
        },
        "query_prompt": {"type": "string", "default": "", "description": "Text that is prepended to each query."},
        "document_prompt": {
            "type": "string",
            "default": "",
            "description": "Text that is prepended to each document text.",
        },
        "max_input_tokens": {
            "type": "integer",
            "default": 8191,
            "minimum": 1,
            "description": "Context window of the model. Tokens are estimated at four bytes each.",
        },
        "batch_size": {
            "type": "integer",
            "default": 64,
            "minimum": 1,
            "description": "Maximum number of texts in a request.",
            **HOW,
        },
        "max_batch_tokens": {
            "type": "integer",
            "default": 100_000,
            "minimum": 1,
            "description": "Maximum number of estimated tokens in a request.",
            **HOW,
        },
        "concurrency": {
            "type": "integer",
            "default": 4,
            "minimum": 1,
            "description": "Maximum number of concurrent requests.",
            **HOW,
        },
    },
}
