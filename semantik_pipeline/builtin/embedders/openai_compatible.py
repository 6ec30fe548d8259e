"""The ``openai-compatible`` embedder: any HTTP endpoint with ``/v1/embeddings``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from semantik_pipeline.builtin.embedders.embeddings_endpoint import EmbeddingsEndpoint
from semantik_pipeline.builtin.embedders.openai_schema import SCHEMA
from semantik_pipeline.builtin.embedders.surrogates import without_surrogates
from semantik_pipeline.builtin.json_endpoint import InputRefused
from semantik_pipeline.builtin.remote_model import RemoteModel
from semantik_pipeline.contracts.chunking import estimate_tokens
from semantik_pipeline.contracts.embedding import EmbeddingMode, EmbeddingPlugin
from semantik_pipeline.errors import DimensionMismatch, PermanentError, PluginConfigError

if TYPE_CHECKING:
    import httpx
    import numpy as np


class OpenAICompatibleEmbedder(RemoteModel, EmbeddingPlugin):
    """Sends texts in batches, several at once, waits as the server asks, and identifies a text that it refuses."""

    PLUGIN_ID: ClassVar[str] = "openai-compatible"
    PLUGIN_VERSION: ClassVar[str] = "2.0.0"
    PROVIDER_TYPE: ClassVar[str] = "remote"
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "OpenAI-compatible endpoint",
        "description": "Embeds with any HTTP server that answers POST /v1/embeddings.",
    }

    SCHEMA: ClassVar[dict[str, Any]] = SCHEMA

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._dimension: int | None = self.config.get("dimensions")
        self._slots = asyncio.Semaphore(self.option("concurrency"))

    def _opened(self, client: httpx.AsyncClient) -> EmbeddingsEndpoint:
        return EmbeddingsEndpoint(client=client, **self._where("/embeddings"), dimensions=self.config.get("dimensions"))

    async def embed_texts(
        self, texts: list[str], batch_size: int = 32, *, mode: EmbeddingMode = EmbeddingMode.DOCUMENT
    ) -> np.ndarray:
        """(n, d) float32. Batches follow the configured sizes, so ``batch_size`` is ignored.

        Raises PermanentError with the index and beginning of a text that the endpoint refuses.
        """
        import numpy as np

        if self._endpoint is None:
            await self.initialize()
        if not texts:
            return np.zeros((0, self._dimension or 0), dtype=np.float32)
        prompt = self.option(f"{EmbeddingMode(mode)}_prompt")
        prompted = [without_surrogates(prompt + text) for text in texts]
        bounds = request_bounds(estimate_tokens(prompted), self.option("batch_size"), self.option("max_batch_tokens"))
        try:
            async with asyncio.TaskGroup() as group:
                parts = [group.create_task(self._embed(prompted[start:end], start)) for start, end in bounds]
        except ExceptionGroup as errors:  # the first failure has cancelled the other requests
            raise errors.exceptions[0] from None
        return self._checked(np.array([vector for part in parts for vector in part.result()], dtype=np.float32))

    async def _embed(self, texts: list[str], first: int) -> list[list[float]]:
        """Vectors of one request. If the endpoint refuses it, its halves are tried, down to the text responsible."""
        try:
            async with self._slots:
                return await self._endpoint.embed(texts)
        except InputRefused as error:
            if len(texts) == 1:
                await self._probe()
                raise PermanentError(
                    f"The embeddings endpoint refuses text {first}, {texts[0][:60]!r}: {error.message}"
                ) from None
        half = len(texts) // 2
        return [*await self._embed(texts[:half], first), *await self._embed(texts[half:], first + half)]

    async def _probe(self) -> None:
        """Check that the refused text is the cause: an endpoint that also refuses a harmless one is misconfigured."""
        try:
            await self._endpoint.embed(["probe"])
        except InputRefused as error:
            raise PluginConfigError(error.message, "Check the model's name and dimensions.") from None

    def _checked(self, vectors: np.ndarray) -> np.ndarray:
        if self._dimension is None:
            self._dimension = vectors.shape[1]
        if vectors.shape[1] != self._dimension:
            raise DimensionMismatch(
                f"{self._endpoint.url} answered with vectors of {vectors.shape[1]} numbers, earlier with vectors of"
                f" {self._dimension}.",
                "The server's model has changed: reindex the collection.",
            )
        return vectors

    async def get_dimension(self) -> int:
        return self._dimension or await super().get_dimension()

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Estimates, because the endpoint's tokenizer is not available here."""
        return estimate_tokens(texts)

    def max_input_tokens(self) -> int | None:
        prompt = self.option("document_prompt")
        return max(1, self.option("max_input_tokens") - estimate_tokens([prompt])[0])

    def get_model_info(self) -> dict[str, Any]:
        return {
            "model": self.config.get("model"),
            "origin": self.option("base_url"),
            "dimension": self._dimension,
            "window": self.option("max_input_tokens"),
        }


def request_bounds(tokens: Sequence[int], max_texts: int, max_tokens: int) -> list[tuple[int, int]]:
    """Group neighbouring texts into as few requests as both limits allow.

    Returns (start, end) pairs that cover every index once, in order.
    """
    bounds: list[tuple[int, int]] = []
    start = used = 0
    for index, count in enumerate(tokens):
        if index > start and (index - start >= max_texts or used + count > max_tokens):
            bounds.append((start, index))
            start, used = index, 0
        used += count
    return [*bounds, (start, len(tokens))] if tokens else bounds
