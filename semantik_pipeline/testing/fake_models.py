"""An embedder and a reranker that need no model. This module does not import torch."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from semantik_pipeline.contracts.embedding import EmbeddingMode, EmbeddingPlugin
from semantik_pipeline.contracts.reranker import RerankerCapabilities, RerankerPlugin
from semantik_pipeline.documents import RerankResult, content_hash
from semantik_pipeline.testing.misbehaviour import OPTIONS, Misbehaviour

if TYPE_CHECKING:
    import numpy as np

_WORD = re.compile(r"\w+")
_COMPONENTS = 8  # of a word's vector; the vectors of words that share few of them are almost orthogonal


class FakeEmbedder(EmbeddingPlugin):
    """A text's vector is the sum of its words' vectors (hashes, equal in every process), so similar texts are close.

    ``dimension`` (64) and ``salt`` affect the output: with a different salt, every word has a different vector of the
    same dimension. ``max_input_tokens`` counts words. Each embedded document is logged as a line of ``log_path``: the
    SHA-256 of its text.
    """

    PLUGIN_ID = "fake-embedder"
    PLUGIN_VERSION = "1.0.0"
    METADATA: ClassVar[dict[str, Any]] = {"name": "Fake embedder", "description": "Hashed words; no model."}

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "model": {"type": "string", "default": "fake"},
                "dimension": {"type": "integer", "minimum": 1, "default": 64},
                "salt": {"type": "string", "default": ""},
                "max_input_tokens": {"type": "integer", "minimum": 1, "default": 256},
                **OPTIONS,
            },
        }

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._device = asyncio.Lock()  # processes one batch of documents at a time; queries bypass it

    async def embed_texts(
        self, texts: list[str], batch_size: int = 32, *, mode: EmbeddingMode = EmbeddingMode.DOCUMENT
    ) -> np.ndarray:
        import numpy as np

        dimension = self.config.get("dimension", 64)
        vectors = np.zeros((len(texts), dimension), dtype=np.float32)
        async with self._device if mode == EmbeddingMode.DOCUMENT else nullcontext():
            await self._embed(texts, mode, vectors)
        return vectors

    async def _embed(self, texts: list[str], mode: EmbeddingMode, vectors: np.ndarray) -> None:
        odd = Misbehaviour(self.config)
        began = time.monotonic()
        for row, text in enumerate(texts):
            if odd.hangs(text):
                await asyncio.Event().wait()
            odd.strike(text)
            if odd.seconds:  # per text of the batch; a late wake-up from one sleep shortens the next
                await asyncio.sleep(max(0.0, began + (row + 1) * odd.seconds - time.monotonic()))
            vectors[row] = hashed_words(text, vectors.shape[1], self.config.get("salt", ""))
            if mode == EmbeddingMode.DOCUMENT:
                odd.log(content_hash(text))

    async def get_dimension(self) -> int:
        return self.config.get("dimension", 64)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def max_input_tokens(self) -> int | None:
        return self.config.get("max_input_tokens", 256)

    def tokenizer_revision(self) -> str:
        return "white-space"

    def get_model_info(self) -> dict[str, Any]:
        return {
            "model": self.config.get("model", "fake"),
            "dimension": self.config.get("dimension", 64),
            "device": "none",
        }

    @classmethod
    def supports_model(cls, name: str) -> bool:  # type: ignore[override]  # a plugin may leave `config` out
        return name == "fake"


def hashed_words(text: str, dimension: int, salt: str = "") -> np.ndarray:
    """The unit vector of a text: (dimension,) float32. A text without words gets the first axis."""
    import numpy as np

    vector = np.zeros(dimension, dtype=np.float32)
    for word in _WORD.findall(text.lower()):
        for index, sign in _components(salt + word, dimension):
            vector[index] += sign
    length = float(np.linalg.norm(vector))
    if length == 0:
        vector[0] = length = 1.0
    return vector / length


@lru_cache(maxsize=4096)  # bounded, so that it does not distort memory benchmarks
def _components(word: str, dimension: int) -> tuple[tuple[int, float], ...]:
    digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=4 * _COMPONENTS).digest()
    parts = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, len(digest), 4)]
    return tuple(((part >> 1) % dimension, 1.0 if part & 1 else -1.0) for part in parts)


class FakeReranker(RerankerPlugin):
    """Scores a text by the share of the query's words that it contains.

    ``mode`` selects faults: ``slow`` (``seconds``), ``throws``, ``too-few``, ``too-many``, ``duplicates``,
    ``out-of-range``, ``nan``.
    """

    PLUGIN_ID = "fake-reranker"
    PLUGIN_VERSION = "1.0.0"
    METADATA: ClassVar[dict[str, Any]] = {"name": "Fake reranker", "description": "Word overlap."}
    MODES: ClassVar[tuple[str, ...]] = (
        "good",
        "slow",
        "throws",
        "too-few",
        "too-many",
        "duplicates",
        "out-of-range",
        "nan",
    )

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "mode": {"type": "string", "enum": list(cls.MODES), "default": "good"},
                "seconds": {"type": "number", "default": 1.0, "x-operational": True},
            },
        }

    @classmethod
    def get_capabilities(cls) -> RerankerCapabilities:
        return RerankerCapabilities(max_documents=16)

    async def rerank(  # type: ignore[override]  # the contract lets a plugin leave arguments out
        self,
        query: str,
        documents: list[str],
        top_k: int | None = None,
        metadata: list[dict[str, Any]] | None = None,
    ) -> list[RerankResult]:
        mode = self.config.get("mode", "good")
        if mode == "throws":
            raise RuntimeError("This fake reranker always throws.")
        if mode == "slow":
            await asyncio.sleep(self.config.get("seconds", 1.0))
        scored = [RerankResult(index, overlap(query, text)) for index, text in enumerate(documents)]
        scored.sort(key=lambda result: (-result.score, result.index))
        return _spoil(scored[:top_k], mode, len(documents))


def overlap(query: str, text: str) -> float:
    """The share of the query's words that occur in the text, 0..1."""
    asked = set(_WORD.findall(query.lower()))
    return len(asked & set(_WORD.findall(text.lower()))) / len(asked) if asked else 0.0


def _spoil(results: list[RerankResult], mode: str, given: int) -> list[RerankResult]:
    match mode:
        case "too-few":
            return results[: len(results) // 2]
        case "too-many":
            return [*results, *(RerankResult(given + extra, 1.0) for extra in range(3))]
        case "duplicates":
            return [result for result in results for _ in range(2)]
        case "out-of-range":
            return [RerankResult(-1 if i % 2 else given + i, r.score) for i, r in enumerate(results)]
        case "nan":
            return [RerankResult(r.index, float("nan" if i % 2 else "inf")) for i, r in enumerate(results)]
        case _:
            return results
