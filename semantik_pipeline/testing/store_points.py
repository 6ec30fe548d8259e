"""Points for the contract of vector stores."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np

from semantik_pipeline.documents import IndexSpec, Point

DIMENSION = 8
SPEC = IndexSpec(
    dimension=DIMENSION,
    payload_indexes={"document_id": "integer", "epoch": "integer", "language": "keyword", "tags": "keyword"},
)
_WORDS = ("wing", "flow", "heat", "shock", "plate", "panel", "lift", "drag", "tunnel", "rocket")


def point_id(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


def make_point(number: int, *, document_id: int = 1, epoch: int = 1, text: str | None = None, **payload: Any) -> Point:
    """A deterministic point. ``text`` is its BM25 text; ``language`` in its payload is the language of that text."""
    vector = np.random.default_rng(number).normal(size=DIMENSION).astype(np.float32)
    text = text or f"{_WORDS[number % 10]} {_WORDS[number // 10 % 10]} number{number}"
    fields = {"document_id": document_id, "epoch": epoch, "text": text, **payload}
    language = payload.get("language")
    return Point(id=point_id(number), vector=vector, sparse_text=text, payload=fields, language=language)


def numbers(store: Any, index: str, below: int) -> list[int]:
    known = {point_id(n): n for n in range(below)}
    return [known[item.id] for item in store.scroll(index)[0]]


def marks(store: Any, index: str) -> dict[int, str]:
    known = {point_id(n): n for n in range(10)}
    return {known[item.id]: item.payload["mark"] for item in store.scroll(index)[0]}
