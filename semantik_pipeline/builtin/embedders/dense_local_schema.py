"""The options of ``dense-local``. Operational options do not affect the vectors and are not part of a fingerprint."""

from __future__ import annotations

from typing import Any

from semantik_pipeline.builtin.embedders.packaged_model import NAMES
from semantik_pipeline.builtin.embedders.precision import PRECISIONS

_OPERATIONAL = {"x-operational": True}

# How a local model is loaded and run. Rerankers that load models have the same options.
LOADING: dict[str, Any] = {
    "device": {
        "type": "string",
        "default": "auto",
        "description": "auto, cpu, cuda, cuda:1, mps.",
        **_OPERATIONAL,
    },
    "precision": {
        "enum": list(PRECISIONS),
        "default": "auto",
        "description": "Of the matrix products; auto is bfloat16 where the hardware is faster in it.",
        **_OPERATIONAL,
    },
    "max_batch_tokens": {
        "type": ["integer", "null"],
        "minimum": 1,
        "description": "Tokens of one micro-batch, padding included; out-of-memory halves it.",
        **_OPERATIONAL,
    },
    "trust_remote_code": {
        "type": "boolean",
        "default": False,
        "description": "Run Python code that the model's folder brings. Read it first.",
        **_OPERATIONAL,
    },
    "models_dir": {
        "type": ["string", "null"],
        "description": "Where models are looked for first; unless given, the setting models.dir.",
        **_OPERATIONAL,
    },
}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "model": {"type": "string", "default": NAMES[0], "description": "A name on the hub, or a folder."},
        "revision": {"type": ["string", "null"], "description": "Branch, tag or commit on the hub."},
        "query_prompt": {"type": ["string", "null"], "description": "Before each query; null: the model's own."},
        "document_prompt": {"type": ["string", "null"], "description": "Before each text; null: the model's own."},
        "normalize": {"type": "boolean", "default": True, "description": "Make vectors of length one."},
        **LOADING,
    },
}
