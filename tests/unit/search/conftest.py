"""A runtime with the least that search asks for: a ledger that knows epochs, a store that compares, real values."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from semantik_pipeline.contracts import EmbeddingMode, EmbeddingPlugin, RerankerCapabilities, RerankerPlugin
from semantik_pipeline.documents import RerankResult, ScoredPoint
from semantik_pipeline.errors import PluginNotFoundError, UsageError
from semantik_pipeline.settings import Search


class LetterEmbedder(EmbeddingPlugin):
    """Counts of the letters a..z, normalised: texts with the same letters are close. Says which mode it was asked in."""

    PLUGIN_ID = "letters"

    def __init__(self, dimension: int = 26) -> None:
        super().__init__()
        self.dimension = dimension
        self.modes: list[EmbeddingMode] = []

    async def embed_texts(self, texts, batch_size=32, *, mode=EmbeddingMode.DOCUMENT):
        self.modes.append(mode)
        counts = np.array([[text.lower().count(chr(97 + i)) + 1e-3 for i in range(self.dimension)] for text in texts])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


class Host:
    """``instance`` by id, ``call`` for plain and async methods alike."""

    def __init__(self) -> None:
        self.plugins: dict[str, object] = {}
        self.asked: list[tuple[str, dict]] = []

    def instance(self, plugin_id, config=None, *, frozen=None, kind=None):
        self.asked.append((plugin_id, dict(config or {})))
        if plugin_id not in self.plugins:
            raise PluginNotFoundError(f"There is no {kind} plugin {plugin_id!r}.")
        plugin = self.plugins[plugin_id]
        if isinstance(plugin, Exception):
            raise plugin
        return plugin

    def call(self, method, *args, **optional):
        answer = method(*args, **optional)
        return asyncio.run(answer) if inspect.isawaitable(answer) else answer


class WordStore:
    """Cosine for the dense leg, shared words for the sparse one, ``must``/``match`` as filters."""

    def __init__(self) -> None:
        self.points: list[tuple[str, np.ndarray, dict]] = []
        self.calls: list[tuple[str, list]] = []

    def search(self, name, requests):
        self.calls.append((name, list(requests)))
        return [self._leg(request) for request in requests]

    def _leg(self, request):
        scored = []
        for id, vector, payload in self.points:
            if not self._meets(payload, request.filter):
                continue
            if request.vector is not None:
                score = float(vector @ request.vector)
            else:
                score = float(len(set(payload["text"].lower().split()) & set(request.text.lower().split())))
                if not score:
                    continue
            scored.append(ScoredPoint(id=id, score=score, payload=payload))
        return sorted(scored, key=lambda point: (-point.score, point.id))[: request.limit]

    @staticmethod
    def _meets(payload, filter):
        return all(payload.get(c["key"]) == c["match"]["value"] for c in (filter or {}).get("must", []))


@dataclass
class Ledger:
    dimension: int = 26
    config: dict = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)

    def search_view(self, collection):
        if collection != "default":
            raise UsageError(f"There is no collection {collection!r}.", "`semantik index --collection` makes one.")
        return SimpleNamespace(
            collection=collection, generation_id=7, index="default-7", dimension=self.dimension, config=self.config
        )

    def visible(self, generation_id, document_ids):
        assert generation_id == 7
        return {id: self.epochs[id] for id in document_ids if id in self.epochs}


class Runtime:
    """``add`` puts a chunk into store and ledger."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(search=Search(reranker="words"))
        self.host, self.store, self.ledger = Host(), WordStore(), Ledger()
        self._embedder = LetterEmbedder()

    def embedder(self, generation_id):
        assert generation_id == 7
        if isinstance(self._embedder, Exception):
            raise self._embedder
        return self._embedder

    def generation(self, generation_id):
        assert generation_id == 7
        return SimpleNamespace(id=7, index="default-7")

    def index(self, generation):
        return generation.index

    def add(self, text, *, document_id=None, epoch=1, indexed=True, **payload):
        document_id = len(self.store.points) + 1 if document_id is None else document_id
        vector = asyncio.run(LetterEmbedder().embed_texts([text]))[0]
        known = {
            "document_id": document_id,
            "document": f"doc-{document_id}",
            "epoch": epoch,
            "text": text,
            "title": f"Title {document_id}",
            "start": 0,
            "end": len(text),
            "ordinal": 0,
            "token_count": len(text.split()),
        }
        self.store.points.append((f"id-{len(self.store.points):05}", vector, {**known, **payload}))
        if indexed:
            self.ledger.epochs.setdefault(document_id, epoch)


class ScriptedReranker(RerankerPlugin):
    """Answers what the script says: a function (query, texts) -> anything."""

    PLUGIN_ID = "words"
    capabilities = RerankerCapabilities()

    def __init__(self, script) -> None:
        super().__init__()
        self.script = script
        self.slices: list[list[str]] = []
        self.queries: list[str] = []

    @classmethod
    def get_capabilities(cls):
        return cls.capabilities

    async def rerank(self, query, documents, top_k=None, metadata=None):
        self.slices.append(list(documents))
        self.queries.append(query)
        return self.script(query, documents)


def by(score):
    """A script that gives each text ``score(text)``."""
    return lambda query, texts: [RerankResult(index, score(text)) for index, text in enumerate(texts)]


@pytest.fixture
def runtime() -> Runtime:
    return Runtime()


@pytest.fixture
def script_reranker(runtime):
    """Put a scripted reranker into the runtime: ``script_reranker(script, max_documents=…) -> ScriptedReranker``."""

    def install(script, **capabilities) -> ScriptedReranker:
        kind = type("Scripted", (ScriptedReranker,), {"capabilities": RerankerCapabilities(**capabilities)})
        runtime.host.plugins["words"] = reranker = kind(script)
        return reranker

    return install


@pytest.fixture
def scored_by():
    return by
