"""One HTTP endpoint that implements ``POST /embeddings`` (OpenAI API reference, "Create embeddings")."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semantik_pipeline.builtin.json_endpoint import JsonEndpoint
from semantik_pipeline.errors import DimensionMismatch, PermanentError

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, kw_only=True)
class EmbeddingsEndpoint(JsonEndpoint):
    """The endpoint of one model. ``dimensions``, if set, is sent with each request and checked in each answer."""

    what: str = "embeddings"
    model: str
    dimensions: int | None

    async def embed(self, texts: list[str]) -> list[list[float]]:
        """Vectors in the order of the texts.

        Raises what :meth:`post` raises, and PermanentError if the answer does not contain embeddings.
        """
        body: dict[str, Any] = {"model": self.model, "input": texts, "encoding_format": "float"}
        if self.dimensions:
            body["dimensions"] = self.dimensions
        return self._vectors(await self.post(body), len(texts))

    def _vectors(self, answer: httpx.Response, count: int) -> list[list[float]]:
        try:
            rows = sorted(answer.json()["data"], key=lambda row: row["index"])
            indices = [row["index"] for row in rows]
            vectors = [row["embedding"] for row in rows]
            finite = all(math.isfinite(value) for vector in vectors for value in vector)
        except (ValueError, KeyError, TypeError) as error:
            raise PermanentError(f"{self.url} answered without embeddings ({type(error).__name__}).") from None
        if indices != list(range(count)):
            raise PermanentError(f"{self.url} answered with {len(indices)} vectors for {count} texts.")
        if not finite:
            raise PermanentError(f"{self.url} answered with a vector that is not finite (NaN or infinity).")
        lengths = {len(vector) for vector in vectors}
        if len(lengths) > 1 or (self.dimensions and lengths != {self.dimensions}):
            raise DimensionMismatch(
                f"{self.url} answered with vectors of {sorted(lengths)} numbers for dimensions={self.dimensions}.",
                "Set dimensions to those of the model, or leave it out.",
            )
        return vectors
