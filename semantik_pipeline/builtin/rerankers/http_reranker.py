"""The ``http-reranker``: any HTTP server with a rerank endpoint, as Cohere, Jina, Voyage, vLLM and others have it."""

from __future__ import annotations

from typing import Any, ClassVar

from semantik_pipeline.builtin.embedders.surrogates import without_surrogates
from semantik_pipeline.builtin.json_endpoint import lists_models
from semantik_pipeline.builtin.rerankers.rerank_endpoint import SHAPES, RerankEndpoint
from semantik_pipeline.contracts.plugin import HealthState, HealthStatus
from semantik_pipeline.contracts.reranker import RerankerCapabilities, RerankerPlugin
from semantik_pipeline.documents import RerankResult
from semantik_pipeline.errors import PluginConfigError

_HOW = {"x-operational": True}

#: Texts of one request, where nobody says how many.
MOST, MOST_OF_SHAPE = 100, {"tei": 32}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["base_url", "model"],
    "properties": {
        "base_url": {
            "type": "string",
            "description": "The address before /rerank: https://api.cohere.com/v2, https://api.jina.ai/v1, http://gpu:8000/v1 ...",
            **_HOW,
        },
        "model": {"type": "string", "description": "The model's name at the endpoint."},
        "api_key": {"type": ["string", "null"], "secret": True, "description": "Give api_key_env: NAME.", **_HOW},
        "shape": {
            "enum": [*SHAPES],
            "default": "cohere",
            "description": "Of the request: cohere (Jina and vLLM too), voyage, or tei (text-embeddings-inference).",
            **_HOW,
        },
        "max_documents": {
            "type": ["integer", "null"],
            "default": None,
            "minimum": 1,
            "description": "Texts of one request; null: 32 in the shape tei, which takes no more unless it is told to, else 100.",
            **_HOW,
        },
        "timeout": {"type": "number", "default": 10, "exclusiveMinimum": 0, "description": "Seconds.", **_HOW},
        "max_retries": {
            "type": "integer",
            "default": 2,
            "minimum": 0,
            "description": "Tries after 429, 5xx or a lost connection, as far as the search's deadline lets.",
            **_HOW,
        },
        "truncate": {
            "type": "boolean",
            "default": True,
            "description": "In the shape tei: the server reads the beginning of a text that is too long for its model; false: it refuses.",
            **_HOW,
        },
        "longest_wait": {
            "type": "number",
            "default": 1.0,
            "minimum": 0,
            "description": "Seconds that a server may ask to wait; of one that asks for more the search goes on without.",
            **_HOW,
        },
    },
}


class HttpReranker(RerankerPlugin):
    """Sends the query and the texts of each call in one request, or in several where the server takes fewer."""

    PLUGIN_ID: ClassVar[str] = "http-reranker"
    PLUGIN_VERSION: ClassVar[str] = "2.0.0"
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Rerank endpoint",
        "description": "Reranks with any HTTP server that answers POST /rerank: Cohere, Jina, Voyage, vLLM ...",
    }

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._endpoint: RerankEndpoint | None = None

    async def initialize(self) -> None:
        """Open the HTTP client; asks the server nothing."""
        import httpx

        for name in ("base_url", "model"):
            if not self.config.get(name):
                raise PluginConfigError(f"http-reranker needs a {name}.", "Configure it: `semantik plugins configure`.")
        self._endpoint = RerankEndpoint(
            client=httpx.AsyncClient(timeout=self._option("timeout")),
            url=self.config["base_url"].rstrip("/") + "/rerank",
            model=self.config["model"],
            shape=self._option("shape"),
            key=self.config.get("api_key"),
            key_name=self.config.get("api_key_env") or "the variable that api_key_env names",
            max_retries=self._option("max_retries"),
            longest_wait=self._option("longest_wait"),
            truncate=self._option("truncate"),
        )

    async def cleanup(self) -> None:
        if self._endpoint is not None:
            await self._endpoint.client.aclose()
        self._endpoint = None

    async def rerank(  # type: ignore[override]  # the contract lets a plugin leave `feedback` out
        self,
        query: str,
        documents: list[str],
        top_k: int | None = None,
        metadata: list[dict[str, Any]] | None = None,
    ) -> list[RerankResult]:
        """The endpoint's own scores, which mostly are within 0..1, and its own choice of the best ``top_k``.

        Raises what the endpoint's :meth:`rank` raises. An empty text or query is sent as one space: servers refuse less.
        """
        if self._endpoint is None:
            await self.initialize()
        if not documents:
            return []
        texts = [without_surrogates(text) if text.strip() else " " for text in documents]
        asked = without_surrogates(query) if query.strip() else " "
        most = self._option("max_documents") or MOST_OF_SHAPE.get(self._option("shape"), MOST)
        results: list[RerankResult] = []
        for start in range(0, len(texts), most):
            part = texts[start : start + most]
            found = await self._endpoint.rank(asked, part)
            # An index beyond its own request is another one's passage; -1 is nobody's, which the search says.
            results += [RerankResult(start + i if 0 <= i < len(part) else -1, score) for i, score in found]
        return sorted(results, key=lambda result: -result.score)[:top_k]

    def get_model_info(self) -> dict[str, Any]:
        return {"model": self.config.get("model"), "origin": self.config.get("base_url")}

    @classmethod
    def get_capabilities(cls) -> RerankerCapabilities:
        """Many texts a call, the first one too: what a call costs is mostly the way."""
        return RerankerCapabilities(
            max_documents=MOST, max_query_length=512, max_doc_length=4096, calibrated=True, first_documents=32
        )

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return SCHEMA

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        """Whether the server lists its models with this key, where it does that; reranks nothing, costs nothing."""
        config = config or {}
        for name in ("base_url", "model"):
            if not config.get(name):
                return HealthStatus(HealthState.UNHEALTHY, f"no {name} is configured")
        return await lists_models(config["base_url"], config.get("api_key"), min(5.0, config.get("timeout") or 5.0))

    def _option(self, name: str) -> Any:
        """The configured value, else the schema's default."""
        value = self.config.get(name)
        return SCHEMA["properties"][name]["default"] if value is None else value
