"""Rerankers: a closer look at the candidates of a search."""

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
    """Limits that the host keeps for the plugin; lengths in tokens.

    ``calibrated`` says that scores are within 0..1 and mean the same for every query, so that they can be blended as
    they are; others are mapped to 0..1 over the passages of one query. ``first_documents`` is how many documents the
    first call has, which tells the pace: more for an endpoint, where a call costs more than a document.
    ``candidates_per_hit`` is how many candidates are worth reading for each hit that is wanted, where the search does not
    say how many: within 20..200, and at most the five that every search fetches.
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
                raise TypeError(f"{one.name} of a reranker's capabilities is {value!r}; it is a whole number")


class RerankerPlugin(SemanticPlugin):
    """Scores (query, text) pairs. Higher is better; the host blends the score with the fused one."""

    PLUGIN_TYPE: ClassVar[str] = "reranker"
    #: Embedding plugin's id -> names of options that a search takes over from the collection's embedder where nobody
    #: gave them, the model's first: where somebody gave that one, nothing is taken over.
    EMBEDDER_OPTIONS: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    async def rerank(
        self,
        query: str,
        documents: list[str],
        top_k: int | None = None,
        metadata: list[dict[str, Any]] | None = None,
        feedback: list[str] | None = None,
        vectors: np.ndarray | None = None,
        feedback_vectors: np.ndarray | None = None,
    ) -> list[RerankResult]:
        """Results best first, each index at most once, finite scores; all documents, or the best ``top_k``.

        ``metadata`` tells of each document what a search knows (title, section, page …). ``feedback`` are the texts
        of the search's best passages before this reranker, best first, the same in each call for one query; they tell
        what good answers look like. ``vectors`` are what the collection's embedder made of the documents when they were
        indexed, (n, d) float32, each row of length one, zeros for a document that the store has no vector of; and
        ``feedback_vectors`` those of the best passages that have one. Without any, both are None, and a plugin that can do
        nothing then raises PluginError. All are optional: a plugin that does not take them is not given them.
        """
        raise NotImplementedError

    async def rerank_batch(
        self, queries: list[str], documents: list[list[str]], top_k: int | None = None
    ) -> list[list[RerankResult]]:
        """The results of each query, with nothing but the texts: whoever needs vectors raises PluginError."""
        return [await self.rerank(query, texts, top_k) for query, texts in zip(queries, documents, strict=True)]

    def get_model_info(self) -> dict[str, Any]:
        """Name, origin, device: what an operator asks for."""
        return {"model": self.config.get("model")}

    def model_files(self) -> ModelFiles | None:
        """The files of the model that is configured, wherever they lie; None for a model that has none here. Works before
        :meth:`initialize`; PluginLoadError says where it was looked for."""
        return None

    def usage(self) -> ModelUsage | None:
        """What the model in memory was used for; None where none is, or nobody counts."""
        return None

    @classmethod
    def get_capabilities(cls) -> RerankerCapabilities:
        return RerankerCapabilities()

    def get_limits(self) -> RerankerCapabilities:
        """The capabilities of this plugin with its options, which the host keeps to; those of its class by default."""
        return self.get_capabilities()
