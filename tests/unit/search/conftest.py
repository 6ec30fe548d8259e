"""A runtime with the least that search asks for: a ledger that knows epochs, a store that compares, real values."""

from __future__ import annotations

import asyncio
import inspect
import uuid
from dataclasses import dataclass, field
from fnmatch import fnmatch
from types import SimpleNamespace

import numpy as np
import pytest

from semantik_pipeline.contracts import EmbeddingMode, EmbeddingPlugin, RerankerCapabilities, RerankerPlugin
from semantik_pipeline.documents import IndexSpec, Point, RerankResult
from semantik_pipeline.errors import PluginNotFoundError, UsageError
from semantik_pipeline.plugins.shape import accepted
from semantik_pipeline.plugins.state import PluginState
from semantik_pipeline.search.completeness import Completeness
from semantik_pipeline.search.index_languages import IndexLanguages
from semantik_pipeline.search.query_vector import QueryVectors
from semantik_pipeline.settings import Search
from semantik_pipeline.tally import Tally
from semantik_pipeline.testing import MemoryStore


class LetterEmbedder(EmbeddingPlugin):
    """Counts of the letters a..z, normalised: texts with the same letters are close.

    Says which mode it was asked in.
    """

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
        self.state = PluginState()
        self.registry = self

    def get(self, plugin_id, kind=None):
        """As the registry: the class of a plugin that ``instance`` would give."""
        return SimpleNamespace(id=plugin_id, cls=type(self.plugins.get(plugin_id)))

    def effective_config(self, plugin_id, config=None, *, frozen=False, kind=None):
        return dict(config or {})

    def instance(self, plugin_id, config=None, *, frozen=None, kind=None):
        self.asked.append((plugin_id, dict(config or {})))
        if plugin_id not in self.plugins:
            raise PluginNotFoundError(f"There is no {kind} plugin {plugin_id!r}.")
        plugin = self.plugins[plugin_id]
        if isinstance(plugin, Exception):
            raise plugin
        return plugin

    def call(self, method, *args, **optional):
        answer = method(*args, **accepted(method, optional))
        return asyncio.run(answer) if inspect.isawaitable(answer) else answer


class RecordingStore(MemoryStore):
    """A real store that keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, list]] = []
        self.create_index("default-7", IndexSpec(dimension=26))

    def search(self, name, requests):
        self.calls.append((name, list(requests)))
        return super().search(name, requests)


@dataclass
class Ledger:
    dimension: int = 26
    config: dict = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    at_rest: int = 0
    words: dict[str, int] = field(default_factory=dict)
    paths: dict[int, str] = field(default_factory=dict)

    def search_view(self, collection):
        if collection != "default":
            raise UsageError(f"There is no collection {collection!r}.", "`semantik index --collection` makes one.")
        return SimpleNamespace(
            collection=collection, generation_id=7, index="default-7", dimension=self.dimension, config=self.config
        )

    def visible(self, generation_id, document_ids, principals=None):
        assert generation_id == 7
        return {id: self.epochs[id] for id in document_ids if id in self.epochs}

    def known_words(self, generation_id, asked):
        return set(asked) & set(self.words) if self.words else set(asked)

    def resembling_words(self, generation_id, word, *, longer, **like):
        return [(one, count) for one, count in self.words.items() if abs(len(one) - len(word)) <= longer]

    def documents_at(self, generation_id, patterns, *, principals, limit):
        met = [id for id, path in self.paths.items() if any(fnmatch(path, f"*{one}") for one in patterns)]
        return met, False

    def points_at_rest(self, generation_id):
        return self.at_rest


class Runtime:
    """``add`` puts a chunk into store and ledger."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(search=Search(reranker="words", rerank_deadline=60, postprocessors=[]))
        self.host, self.store, self.ledger = Host(), RecordingStore(), Ledger()
        self.completeness, self.tally = Completeness(), Tally()
        self.index_languages, self.query_vectors = IndexLanguages(), QueryVectors()
        self._embedder = LetterEmbedder()

    def embedder(self, generation_id):
        assert generation_id == 7
        if isinstance(self._embedder, Exception):
            raise self._embedder
        return self._embedder

    def generation(self, generation_id):
        assert generation_id == 7
        return SimpleNamespace(id=7, index="default-7", fingerprints={"embed": "letters"})

    def existing_index(self, generation):
        return generation.index

    def add(self, text, *, document_id=None, epoch=1, indexed=True, **payload):
        number = self.store.count("default-7")
        document_id = number + 1 if document_id is None else document_id
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
        point_id = str(uuid.UUID(int=number))
        payload = {**known, **payload}
        self.store.insert("default-7", [Point(id=point_id, vector=vector, sparse_text=text, payload=payload)])
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
