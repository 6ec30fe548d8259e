"""The ``http-reranker``: any HTTP server with a rerank endpoint like those of Cohere, Jina, Voyage and vLLM."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from semantik_pipeline.builtin.embedders.surrogates import without_surrogates
from semantik_pipeline.builtin.remote_model import HOW, RemoteModel, remote_options
from semantik_pipeline.builtin.rerankers.rerank_endpoint import SHAPES, RerankEndpoint
from semantik_pipeline.contracts.reranker import RerankerCapabilities, RerankerPlugin
from semantik_pipeline.documents import RerankResult

if TYPE_CHECKING:
    import httpx

#: Texts per request unless the configuration says otherwise.
MOST, MOST_OF_SHAPE = 100, {"tei": 32}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["base_url", "model"],
    "properties": {
        **remote_options(timeout=10, max_retries=2, within="as far as the search's deadline allows."),
        "base_url": {
            "type": "string",
            "description": "URL of the API, without /rerank: https://api.cohere.com/v2, https://api.jina.ai/v1,"
            " http://gpu:8000/v1 ...",
            **HOW,
        },
        "shape": {
            "enum": [*SHAPES],
            "default": "cohere",
            "description": "Format of the request: cohere (also for Jina and vLLM), voyage, or tei"
            " (text-embeddings-inference).",
            **HOW,
        },
        "max_documents": {
            "type": ["integer", "null"],
            "default": None,
            "minimum": 1,
            "description": "Maximum number of texts in a request; null means 32 with the shape tei, which accepts no"
            " more by default, and 100 otherwise.",
            **HOW,
        },
        "truncate": {
            "type": "boolean",
            "default": True,
            "description": "With the shape tei: whether the server cuts a text that is too long for its model; false"
            " means that it refuses the text.",
            **HOW,
        },
        "max_query_tokens": {
            "type": "integer",
            "default": 512,
            "minimum": 1,
            "description": "Approximate number of tokens of a query that the server's model reads. A longer query is"
            " cut, with a warning.",
            **HOW,
        },
        "max_doc_tokens": {
            "type": "integer",
            "default": 4096,
            "minimum": 1,
            "description": "The same for a passage. Set it to what the model reads, because there is no warning if"
            " the server itself cuts a passage.",
            **HOW,
        },
        "longest_wait": {
            "type": "number",
            "default": 1.0,
            "minimum": 0,
            "description": "Maximum number of seconds that a server may ask to wait. If it asks for more, the search"
            " continues without it.",
            **HOW,
        },
    },
}


class HttpReranker(RemoteModel, RerankerPlugin):
    """Sends the query and the texts of each call in one request, or in several if the server accepts fewer texts."""

    PLUGIN_ID: ClassVar[str] = "http-reranker"
    PLUGIN_VERSION: ClassVar[str] = "2.0.0"
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Rerank endpoint",
        "description": "Reranks with any HTTP server that answers POST /rerank: Cohere, Jina, Voyage, vLLM ...",
    }

    SCHEMA: ClassVar[dict[str, Any]] = SCHEMA

    def _opened(self, client: httpx.AsyncClient) -> RerankEndpoint:
        return RerankEndpoint(
            client=client,
            **self._where("/rerank"),
            shape=self.option("shape"),
            longest_wait=self.option("longest_wait"),
            truncate=self.option("truncate"),
        )

    async def rerank(  # type: ignore[override]  # the contract lets a plugin leave arguments out
        self,
        query: str,
        documents: list[str],
        top_k: int | None = None,
        metadata: list[dict[str, Any]] | None = None,
    ) -> list[RerankResult]:
        """Scores as the endpoint returns them, usually within 0..1, and the best ``top_k`` in its order.

        Raises what the endpoint's :meth:`rank` raises. An empty text or query is sent as one space, because servers
        refuse empty strings.
        """
        if self._endpoint is None:
            await self.initialize()
        if not documents:
            return []
        texts = [without_surrogates(text) if text.strip() else " " for text in documents]
        asked = without_surrogates(query) if query.strip() else " "
        most = self.option("max_documents") or MOST_OF_SHAPE.get(self.option("shape"), MOST)
        results: list[RerankResult] = []
        for start in range(0, len(texts), most):
            part = texts[start : start + most]
            found = await self._endpoint.rank(asked, part)
            # An index beyond its own request would point at another request's passage: -1, which the search reports.
            results += [RerankResult(start + i if 0 <= i < len(part) else -1, score) for i, score in found]
        return sorted(results, key=lambda result: -result.score)[:top_k]

    def get_model_info(self) -> dict[str, Any]:
        return {"model": self.config.get("model"), "origin": self.config.get("base_url")}

    @classmethod
    def get_capabilities(cls) -> RerankerCapabilities:
        """Many texts per call, the first one too: the time of a call is mostly the round trip."""
        query, doc = cls._option_of({}, "max_query_tokens"), cls._option_of({}, "max_doc_tokens")
        return RerankerCapabilities(
            max_documents=MOST, max_query_length=query, max_doc_length=doc, calibrated=True, first_documents=32
        )

    def get_limits(self) -> RerankerCapabilities:
        """The lengths that the server's model reads, according to the options."""
        query, doc = self.option("max_query_tokens"), self.option("max_doc_tokens")
        return replace(self.get_capabilities(), max_query_length=query, max_doc_length=doc)
