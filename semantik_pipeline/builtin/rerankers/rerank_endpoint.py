"""One HTTP endpoint that implements ``POST /rerank``.

The request is Cohere's (API reference, "Rerank"), which Jina and vLLM adopted; two other shapes use different field
names. Answers are read leniently, because all of them contain the same: an index and a score for each text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semantik_pipeline.builtin.json_endpoint import JsonEndpoint
from semantik_pipeline.errors import PermanentError

if TYPE_CHECKING:
    import httpx

#: The fields for the texts and for the number of wanted results (None: the shape has no such field).
SHAPES: dict[str, tuple[str, str | None]] = {
    "cohere": ("documents", "top_n"),
    "voyage": ("documents", "top_k"),
    "tei": ("texts", None),
}


@dataclass(frozen=True, kw_only=True)
class RerankEndpoint(JsonEndpoint):
    """The endpoint of one model. Because a person is waiting, a failed request is retried soon or not at all."""

    what: str = "rerank"
    model: str
    shape: str
    truncate: bool = True
    first_backoff: float | None = 0.05

    async def rank(self, query: str, texts: list[str]) -> list[tuple[int, float]]:
        """``(index, score)`` of each text that the server ranks, in the server's order.

        Raises what :meth:`post` raises, and PermanentError if the answer is not a ranking.
        """
        field, wanted = SHAPES[self.shape]
        body: dict[str, Any] = {"model": self.model, "query": query, field: texts}
        if wanted:
            body[wanted] = len(texts)
        if self.shape == "tei":  # refuses texts that are too long for its model, unless told to truncate
            body["truncate"] = self.truncate
        return self._ranking(await self.post(body))

    def _ranking(self, answer: httpx.Response) -> list[tuple[int, float]]:
        try:
            said = answer.json()
            rows = said if isinstance(said, list) else said["results"] if "results" in said else said["data"]
            return [
                (_whole(row["index"]), float(row["relevance_score"] if "relevance_score" in row else row["score"]))
                for row in rows
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise PermanentError(f"{self.url} answered without a ranking ({type(error).__name__}).") from None


def _whole(given: Any) -> int:
    """The index of a text. Raises TypeError if it is not an integer: 1.7 identifies no text."""
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    raise TypeError("an index is an integer")
