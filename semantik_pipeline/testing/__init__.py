"""For plugin authors: a contract test class for each kind of plugin, and fakes to test with.

Subclass the contract for your plugin's kind in a test file, give it your plugin, and pytest runs the whole contract::

    from semantik_pipeline.testing import ChunkingContract

    class TestMyChunker(ChunkingContract):
        ...

Names are imported on first use, so fakes can also be used without pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "ConnectorContract": "connectors",
    "IncrementalConnectorContract": "connectors",
    "ParserContract": "parsers",
    "Sample": "parsers",
    "ChunkingContract": "chunkers",
    "ExtractorContract": "extractors",
    "EmbeddingContract": "embedders",
    "RerankerContract": "rerankers",
    "PostprocessorContract": "postprocessors",
    "VectorDBContract": "stores",
    "AuthContract": "auth",
    "FakeAuth": "fake_auth",
    "FakeConnector": "fake_documents",
    "FakeParser": "fake_documents",
    "FakeChunker": "fake_texts",
    "FakeExtractor": "fake_texts",
    "FakeEmbedder": "fake_models",
    "FakeReranker": "fake_models",
    "FakePostprocessor": "fake_postprocessor",
    "FakeContext": "postprocessing",
    "MemoryStore": "memory_store",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
