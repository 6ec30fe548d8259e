"""Query vectors by the collection's own models: cached, and computed together with those of waiting queries."""

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
#: The maximum of queries in one forward pass.
TOGETHER = 64

#: The name of an index, the leg, and a query's text.
Key = tuple[str, str, str]


class QueryVectors:
    """A process's cache of query vectors. Thread-safe.

    The KEPT most recently used vectors are kept, so further pages and frequent queries need no model. While a local
    model embeds a query, other queries wait and are then embedded together in one pass. Queries to a remote model are
    not batched, so that a request that hangs delays no other query. The key is the name of the generation's index,
    which is never reused. SQLite reuses generation ids, and a query that ends after its generation was deleted must not
    cache a vector for the next generation.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, Any] = OrderedDict()
        self._waiting: dict[Key, Future[Any]] = {}
        self._at_work: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    def of(self, runtime: Runtime, view: SearchView, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the texts' vectors, (d,) float32 each, read-only, by the embedding model of the view's generation.

        Raises FingerprintMismatch or DimensionMismatch, which name both sides, if this process embeds differently from
        how the index was built, PluginNotFoundError if the embedding plugin is disabled, and what the plugin raises.
        """
        return self._of(_Dense(runtime, view), texts)

    def sparse(self, runtime: Runtime, view: SearchView, text: str) -> SparseVector:
        """Return the text's vector by the generation's sparse model; the generation must have one.

        Raises FingerprintMismatch if this process has a different model, and what the plugin raises.
        """
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
        """Compute the vectors in as few passes as possible, together with those that other threads wait for."""
        with self._lock:
            mine = {key: self._waiting.setdefault(key, Future()) for key in missing}
            turn = self._at_work.setdefault(model.key, threading.Lock())
        while not all(one.done() for one in mine.values()):
            # A thread that waited here finds its vectors computed, or computes them with all that arrived meanwhile.
            with turn:
                self._embed_waiting(model, mine)
        return {key: one.result() for key, one in mine.items()}

    def forget(self, index: str) -> None:
        """Forget an index whose generation no longer exists."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == index]:
                del self._kept[key]
            for at in [at for at in self._at_work if at[0] == index]:
                del self._at_work[at]

    def _embed_waiting(self, model: _Model, mine: dict[Key, Future[Any]]) -> None:
        """Make one pass over the vectors of ``mine`` that are still missing and those that other threads wait for."""
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
                batch = own  # another thread's text may be the cause: that thread will get the error itself
                vectors = model.embedded([text for *_, text in batch])
        except BaseException as error:  # give it to all of the batch, who would get the same error one after the other
            self._end(dict.fromkeys(batch, error))
            return
        self._end(dict(zip(batch, vectors, strict=True)))

    def _end(self, outcomes: dict[Key, Any]) -> None:
        """Hand the outcomes (vectors or an exception) to the waiting threads, and cache the vectors."""
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
    """A model of the view's generation. ``key`` is the name of the index and the leg that the model serves."""

    leg: str

    def __init__(self, runtime: Runtime, view: SearchView) -> None:
        self.runtime, self.view = runtime, view
        self.key = (view.index, self.leg)

    @cached_property
    def plugin(self) -> Any:
        raise NotImplementedError

    def embedded(self, texts: list[str]) -> list[Any]:
        """Return the queries' vectors, checked, with one call of the plugin."""
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
            vector.flags.writeable = False  # it is shared by the cache
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
