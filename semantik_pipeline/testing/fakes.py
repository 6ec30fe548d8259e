"""Fakes of every kind of plugin: small, deterministic, without a model, and able to misbehave on request.

They are ordinary plugins (``fake-connector``, ``fake-embedder`` and so on). Register them through an entry point of a
test package, or create them directly. This module does not import pytest.
"""

from __future__ import annotations

from semantik_pipeline.testing.fake_auth import FakeAuth
from semantik_pipeline.testing.fake_documents import FakeConnector, FakeParser
from semantik_pipeline.testing.fake_models import FakeEmbedder, FakeReranker
from semantik_pipeline.testing.fake_postprocessor import FakePostprocessor
from semantik_pipeline.testing.fake_texts import FakeChunker, FakeExtractor
from semantik_pipeline.testing.memory_store import MemoryStore

__all__ = [
    "FakeAuth",
    "FakeChunker",
    "FakeConnector",
    "FakeEmbedder",
    "FakeExtractor",
    "FakeParser",
    "FakePostprocessor",
    "FakeReranker",
    "MemoryStore",
]
