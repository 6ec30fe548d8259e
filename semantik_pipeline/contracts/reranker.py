"""Rerankers score the best candidates of a search again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from semantik_pipeline.contracts.models import ModelFiles, ModelUsage
from semantik_pipeline.contracts.plugin import SemanticPlugin
from semantik_pipeline.documents import RerankResult

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class RerankerCapabilities:
    """The limits that the host keeps to; lengths are in tokens.

    ``calibrated`` means that scores are within 0..1 and mean the same for every query. They are blended as they are;
    others are mapped to 0..1 over the passages of one query. ``first_documents`` is how many documents the first call
    has. That call measures the pace; raise the number for an endpoint, where a call costs more than a document.
    ``candidates_per_hit`` is how many candidates are worth reading for each hit that is wanted, if the search does not
    set a number: within 20..200, and at most the five that every search fetches.
    """

    max_documents: int = 100
    max_query_length: int = 512
    max_doc_length: int = 512
    supports_batching: bool = True
    models: tuple[str, ...] = ()
    calibrated: bool = False
    first_documents: int = 4
    candidates_per_hit: int = 5

    def __post_init__(self) -> None:
        for one in fields(self):
            if one.type == "int" and type(value := getattr(self, one.name)) is not int:
                raise TypeError(f"{one.name} of a reranker's capabilities is {value!r}; it must be a whole number")


class RerankerPlugin(SemanticPlugin):
    """Scores pairs of query and text. Higher is better. The host blends the score with the fused one."""

    PLUGIN_TYPE: ClassVar[str] = "reranker"
    #: Embedding plugin's id -> names of options that a search takes over from the collection's embedder if nobody set
    #: them, the model's first. If somebody set the model, nothing is taken over.
    EMBEDDER_OPTIONS: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    async def rerank(
        self,
        query: str,
        documents: list[str],
        top_k: int | None = None,
        metadata: list[dict[str, Any]] | None = None,
        vectors: np.ndarray | None = None,
        feedback_vectors: np.ndarray | None = None,
    ) -> list[RerankResult]:
        """Return results best first, each index at most once, with finite scores: all documents, or the best ``top_k``.

        ``metadata`` holds what a search knows of each document, such as its title, section and page.

        ``vectors`` holds the vectors that the collection's embedder gave the documents when they were indexed: (n, d)
        float32, each row of length one, zeros for a document without a vector in the store. ``feedback_vectors`` holds
        those of the search's best passages before this reranker that have one, best first, the same in each call for
        one query: they show what good answers look like. Both are None if there are no vectors; a plugin that can do
        nothing without them raises PluginError.

        All of these are optional: a plugin that does not take one is called without it.
        """
        raise NotImplementedError

    async def rerank_batch(
        self, queries: list[str], documents: list[list[str]], top_k: int | None = None
    ) -> list[list[RerankResult]]:
        """Return the results of each query, by the texts alone. A plugin that needs vectors raises PluginError."""
        return [await self.rerank(query, texts, top_k) for query, texts in zip(queries, documents, strict=True)]

    def get_model_info(self) -> dict[str, Any]:
        """Return name, origin and device, for operators."""
        return {"model": self.config.get("model")}

    def model_files(self) -> ModelFiles | None:
        """Return the files of the configured model, or None for a model without files here.

        Works before :meth:`initialize`. Raise PluginLoadError, saying where you looked, if they are missing.
        """
        return None

    def usage(self) -> ModelUsage | None:
        """Return what the model in memory was used for, or None if there is none or nobody counts."""
        return None

    @classmethod
    def get_capabilities(cls) -> RerankerCapabilities:
        return RerankerCapabilities()

    def get_limits(self) -> RerankerCapabilities:
        """Return the capabilities with this instance's options; the host keeps to them. Default: those of the class."""
        return self.get_capabilities()
