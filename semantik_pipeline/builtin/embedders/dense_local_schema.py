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
        "description": "Precision of the matrix products; auto is bfloat16 where the hardware is faster with it.",
        **_OPERATIONAL,
    },
    "max_batch_tokens": {
        "type": ["integer", "null"],
        "minimum": 1,
        "description": "Maximum number of tokens in a micro-batch, including padding; halved if the device runs out"
        " of memory.",
        **_OPERATIONAL,
    },
    "trust_remote_code": {
        "type": "boolean",
        "default": False,
        "description": "Run Python code from the model's folder. Read it first.",
        **_OPERATIONAL,
    },
    "models_dir": {
        "type": ["string", "null"],
        "description": "Folder in which models are looked for first (default: the setting models.dir).",
        **_OPERATIONAL,
    },
}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "model": {"type": "string", "default": NAMES[0], "description": "Name on the hub, or a folder."},
        "revision": {"type": ["string", "null"], "description": "Branch, tag or commit on the hub."},
        "query_prompt": {
            "type": ["string", "null"],
            "description": "Text that is prepended to each query; null means the model's own.",
        },
        "document_prompt": {
            "type": ["string", "null"],
            "description": "Text that is prepended to each document text; null means the model's own.",
        },
        "normalize": {"type": "boolean", "default": True, "description": "Normalize vectors to length one."},
        **LOADING,
    },
}
