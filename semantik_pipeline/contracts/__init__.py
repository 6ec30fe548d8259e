"""The plugin contracts, one file for each kind. ``KINDS`` is the table of kinds; a new kind is a new row."""

from __future__ import annotations

from semantik_pipeline.contracts.auth import ROLES, AuthPlugin, AuthRequest, Principal
from semantik_pipeline.contracts.chunking import ChunkConfig, ChunkingPlugin
from semantik_pipeline.contracts.connector import ConnectorPlugin
from semantik_pipeline.contracts.embedding import EmbeddingMode, EmbeddingPlugin, EmbeddingProviderDefinition
from semantik_pipeline.contracts.extractor import ExtractorPlugin
from semantik_pipeline.contracts.parser import ParserPlugin
from semantik_pipeline.contracts.plugin import (
    PLUGIN_API_VERSION,
    HealthState,
    HealthStatus,
    PluginManifest,
    PluginProtocol,
    SemanticPlugin,
)
from semantik_pipeline.contracts.postprocessor import PostprocessContext, PostprocessorPlugin, QueryText
from semantik_pipeline.contracts.reranker import RerankerCapabilities, RerankerPlugin
from semantik_pipeline.contracts.vectordb import VectorDBPlugin

#: kind -> (base class, tuples of required methods: a class must define all the methods of one tuple)
KINDS: dict[str, tuple[type[SemanticPlugin], tuple[tuple[str, ...], ...]]] = {
    "connector": (ConnectorPlugin, (("load_documents",), ("enumerate", "fetch"))),
    "parser": (ParserPlugin, (("parse",),)),
    "chunking": (ChunkingPlugin, (("chunk",),)),
    "extractor": (ExtractorPlugin, (("extract",),)),
    "embedding": (EmbeddingPlugin, (("embed_texts",),)),
    "reranker": (RerankerPlugin, (("rerank",),)),
    "vectordb": (
        VectorDBPlugin,
        (
            (
                "create_index",
                "drop_index",
                "list_indexes",
                "insert",
                "search",
                "delete",
                "count",
                "scroll",
                "set_payload",
            ),
        ),
    ),
    "postprocessor": (PostprocessorPlugin, (("process",),)),
    "auth": (AuthPlugin, (("authenticate",),)),
}

__all__ = [
    "KINDS",
    "PLUGIN_API_VERSION",
    "ROLES",
    "AuthPlugin",
    "AuthRequest",
    "ChunkConfig",
    "ChunkingPlugin",
    "ConnectorPlugin",
    "EmbeddingMode",
    "EmbeddingPlugin",
    "EmbeddingProviderDefinition",
    "ExtractorPlugin",
    "HealthState",
    "HealthStatus",
    "ParserPlugin",
    "PluginManifest",
    "PluginProtocol",
    "PostprocessContext",
    "PostprocessorPlugin",
    "Principal",
    "QueryText",
    "RerankerCapabilities",
    "RerankerPlugin",
    "SemanticPlugin",
    "VectorDBPlugin",
]
