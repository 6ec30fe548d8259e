"""The query as the collection's own models see it: kept for the next time, and embedded together with those that wait."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from functools import cached_property
from typing import TYPE_CHECKING, Any

from semantik_pipeline.contracts import EmbeddingMode
from semantik_pipeline.errors import DimensionMismatch, PluginError, TransientError
from semantik_pipeline.stages.vectors import sparse_encoder

if TYPE_CHECKING:
    import numpy as np

    from semantik_pipeline.documents import SparseVector
    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime

#: Vectors that a process keeps: 1.5 MB at 384 dimensions, 16 MB at 4,096.
KEPT = 1024
#: Queries that one forward pass takes.
TOGETHER = 64

#: A query's text with the index that it goes to, and the leg of it.
Key = tuple[str, str, str]


class QueryVectors:
    """Vectors of queries, of a process. Threads may ask at once.

    The last KEPT are kept: who pages through answers, or asks what many ask, waits for no model. While a model of this
    process is at work on a query, others gather and go through it in one pass; a remote one is asked by each for itself,
    so that a request that hangs keeps nobody else. They go by the name of the generation's index, which is never given
    twice: a generation's id is, on SQLite, and a query that ends after its generation must not answer for the next one.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, Any] = OrderedDict()
        self._waiting: dict[Key, Future[Any]] = {}
        self._at_work: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    def of(self, runtime: Runtime, view: SearchView, texts: Sequence[str]) -> list[np.ndarray]:
        """The vectors of texts, (d,) float32 each, read-only, by the model of the generation that the view reads.

        Raises FingerprintMismatch or DimensionMismatch for what is not embedded here as the index was, naming both,
        PluginNotFoundError when the embedding plugin is disabled, and what the plugin raises.
        """
        return self._of(_Dense(runtime, view), texts)

    def sparse(self, runtime: Runtime, view: SearchView, text: str) -> SparseVector:
        """The text's vector by the sparse model of the generation, which has one. Raises FingerprintMismatch where it is
        another one here, and what the plugin raises."""
        return self._of(_Sparse(runtime, view), [text])[0]

    def _of(self, model: _Model, texts: Sequence[str]) -> list[Any]:
        keys = [(*model.key, text) for text in texts]
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
            for key in found:
                self._kept.move_to_end(key)
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if missing and model.plugin.PROVIDER_TYPE == "remote":
            found |= dict(zip(missing, model.embedded([text for *_, text in missing]), strict=True))
            self._end({key: found[key] for key in missing})
        elif missing:
            found |= self._together(model, missing)
        return [found[key] for key in keys]

    def _together(self, model: _Model, missing: list[Key]) -> dict[Key, Any]:
        """Vectors made in as few passes as there can be, with those that others wait for."""
        with self._lock:
            mine = {key: self._waiting.setdefault(key, Future()) for key in missing}
            turn = self._at_work.setdefault(model.key, threading.Lock())
        while not all(one.done() for one in mine.values()):
            with turn:  # those who waited for it find their vectors made, or make them with all that came meanwhile
                self._embed_waiting(model, mine)
        return {key: one.result() for key, one in mine.items()}

    def forget(self, index: str) -> None:
        """The generation of that index is gone."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == index]:
                del self._kept[key]
            for at in [at for at in self._at_work if at[0] == index]:
                del self._at_work[at]

    def _embed_waiting(self, model: _Model, mine: dict[Key, Future[Any]]) -> None:
        """One pass over those of ``mine`` that are still missing and over what others wait for."""
        own = [key for key, one in mine.items() if not one.done()][:TOGETHER]
        if not own:
            return
        with self._lock:
            others = [key for key in self._waiting if key[:2] == model.key and key not in mine]
        batch = [*own, *others][:TOGETHER]
        try:
            try:
                vectors = model.embedded([text for *_, text in batch])
            except Exception as error:
                if isinstance(error, TransientError) or len(batch) == len(own):
                    raise
                batch = own  # another one's text may be to blame: they meet it by themselves
                vectors = model.embedded([text for *_, text in batch])
        except BaseException as error:  # what is nobody's fault, each of them would meet, one after the other
            self._end(dict.fromkeys(batch, error))
            return
        self._end(dict(zip(batch, vectors, strict=True)))

    def _end(self, outcomes: dict[Key, Any]) -> None:
        """Tell those who wait, and keep the vectors."""
        with self._lock:
            for key, outcome in outcomes.items():
                waiting = self._waiting.pop(key, None)
                if isinstance(outcome, BaseException):
                    if waiting is not None:
                        waiting.set_exception(outcome)
                    continue
                self._kept[key] = outcome
                if waiting is not None:
                    waiting.set_result(outcome)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)


class _Model:
    """A model of the generation that the view reads; ``key`` is the index, and its leg of it."""

    leg: str

    def __init__(self, runtime: Runtime, view: SearchView) -> None:
        self.runtime, self.view = runtime, view
        self.key = (view.index, self.leg)

    @cached_property
    def plugin(self) -> Any:
        raise NotImplementedError

    def embedded(self, texts: list[str]) -> list[Any]:
        """The vectors of queries by one call of the plugin, checked."""
        raise NotImplementedError

    def _checked(self, made: Any, texts: list[str], method: str) -> Any:
        if len(made) != len(texts):
            raise PluginError(
                f"The embedding plugin {type(self.plugin).PLUGIN_ID!r} returned {len(made)} vectors for {len(texts)}"
                " queries.",
                f"Fix the plugin: {method} must return one vector for each text, in the same order.",
            )
        return made


class _Dense(_Model):
    leg = "dense"

    @cached_property
    def plugin(self) -> Any:
        return self.runtime.embedder(self.view.generation_id)

    def embedded(self, texts: list[str]) -> list[np.ndarray]:
        import numpy as np

        call, plugin = self.runtime.host.call, self.plugin
        if len(texts) == 1:
            made = [call(plugin.embed_single, texts[0], mode=EmbeddingMode.QUERY)]
        else:
            made = call(plugin.embed_texts, texts, batch_size=len(texts), mode=EmbeddingMode.QUERY)
        checked = self._checked(made, texts, "embed_texts")
        vectors = [np.array(one, dtype=np.float32).reshape(-1) for one in checked]
        for vector in vectors:
            vector.flags.writeable = False  # it is kept
            if len(vector) != self.view.dimension:
                raise DimensionMismatch(
                    f"The embedding plugin {type(plugin).PLUGIN_ID!r} returned a query vector of {len(vector)}"
                    " dimensions, "
                    f"but the index of collection {self.view.collection!r} has {self.view.dimension}.",
                    "The model has changed since the collection was indexed: `semantik reindex` it, or use the"
                    " previous model.",
                )
        return vectors


class _Sparse(_Model):
    leg = "sparse"

    @cached_property
    def plugin(self) -> Any:
        return sparse_encoder(self.runtime, self.view.generation_id)

    def embedded(self, texts: list[str]) -> list[SparseVector]:
        made = self.runtime.host.call(self.plugin.embed_sparse, texts, mode=EmbeddingMode.QUERY)
        return self._checked(made, texts, "embed_sparse")
