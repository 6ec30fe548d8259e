"""Rerankers: a closer look at the candidates of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from semantik_pipeline.contracts.plugin import SemanticPlugin
from semantik_pipeline.documents import RerankResult


@dataclass(frozen=True)
class RerankerCapabilities:
    """Limits that the host keeps for the plugin; lengths in tokens."""

    max_documents: int = 100
    max_query_length: int = 512
    max_doc_length: int = 512
    supports_batching: bool = True
    models: tuple[str, ...] = ()


class RerankerPlugin(SemanticPlugin):
    """Scores (query, text) pairs. Higher is better; the host blends the score with the fused one."""

    PLUGIN_TYPE: ClassVar[str] = "reranker"

    async def rerank(
        self,
        query: str,
        documents: list[str],
        top_k: int | None = None,
        metadata: list[dict[str, Any]] | None = None,
    ) -> list[RerankResult]:
        """Results best first, each index at most once, finite scores; all documents, or the best ``top_k``."""
        raise NotImplementedError

    async def rerank_batch(
        self, queries: list[str], documents: list[list[str]], top_k: int | None = None
    ) -> list[list[RerankResult]]:
        return [await self.rerank(query, texts, top_k) for query, texts in zip(queries, documents, strict=True)]

    @classmethod
    def get_capabilities(cls) -> RerankerCapabilities:
        return RerankerCapabilities()
