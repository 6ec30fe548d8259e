"""Lists of the enabled plugins of a kind, for configuring collections and sources."""

from __future__ import annotations

from semantik_pipeline import plugin_admin
from semantik_pipeline.api.dependencies import Reader, TheRuntime
from semantik_pipeline.api.models.plugins import (
    AvailablePlugin,
    ChunkerList,
    ConfigField,
    ConnectorList,
    EmbeddingList,
    ExtractorList,
    RerankerList,
)
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.runtime import Runtime

router = guarded("plugins")


@router.get("/rerankers", operation_id="rerankers_list", summary="List enabled rerankers, with their limits.")
def rerankers(runtime: TheRuntime, caller: Reader) -> RerankerList:
    return RerankerList(rerankers=_offers(runtime, "reranker"))


@router.get("/extractors", operation_id="extractors_list", summary="List enabled extractors, with what they extract.")
def extractors(runtime: TheRuntime, caller: Reader) -> ExtractorList:
    return ExtractorList(extractors=_offers(runtime, "extractor"))


@router.get("/embeddings", operation_id="embeddings_list", summary="List enabled embedders.")
def embeddings(runtime: TheRuntime, caller: Reader) -> EmbeddingList:
    return EmbeddingList(embeddings=_offers(runtime, "embedding"))


@router.get("/chunkers", operation_id="chunkers_list", summary="List enabled chunkers.")
def chunkers(runtime: TheRuntime, caller: Reader) -> ChunkerList:
    return ChunkerList(chunkers=_offers(runtime, "chunking"))


@router.get("/connectors", operation_id="connectors_list", summary="List enabled connectors, with their options.")
def connectors(runtime: TheRuntime, caller: Reader) -> ConnectorList:
    return ConnectorList(connectors=_offers(runtime, "connector"))


def _offers(runtime: Runtime, kind: str) -> list[AvailablePlugin]:
    return [
        AvailablePlugin(
            id=found.plugin.id,
            display_name=found.plugin.manifest.display_name,
            version=found.plugin.manifest.version,
            description=found.plugin.manifest.description,
            builtin=found.plugin.builtin,
            capabilities=found.capabilities,
            config_fields=[ConfigField(**field) for field in found.fields],
        )
        for found in plugin_admin.offers(runtime, kind)
    ]
