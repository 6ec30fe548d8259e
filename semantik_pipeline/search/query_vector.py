"""The query as the collection's own model sees it: kept for the next time, and embedded together with those that wait."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from semantik_pipeline.contracts import EmbeddingMode
from semantik_pipeline.errors import DimensionMismatch, PluginError, TransientError
from semantik_pipeline.stages.vectors import sparse_encoder

if TYPE_CHECKING:
    import numpy as np

    from semantik_pipeline.documents import SparseVector

#: Vectors that a process keeps: 1.5 MB at 384 dimensions, 16 MB at 4,096.
KEPT = 1024
#: Queries that one forward pass takes.
TOGETHER = 64


class QueryVectors:
    """Vectors of queries, of a process. Threads may ask at once.

    The last KEPT are kept: who pages through answers, or asks what many ask, waits for no model. While a model of this
    process is at work on a query, others gather and go through it in one pass; a remote one is asked by each for itself,
    so that a request that hangs keeps nobody else. They go by the name of the generation's index, which is never given
    twice: a generation's id is, on SQLite, and a query that ends after its generation must not answer for the next one.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()
        self._waiting: dict[tuple[str, str], Future[np.ndarray]] = {}
        self._at_work: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def of(self, runtime: Any, view: Any, texts: Sequence[str]) -> list[np.ndarray]:
        """The vectors of texts, (d,) float32 each, read-only, by the model of the generation that the view reads.

        Raises DimensionMismatch naming both lengths, PluginNotFoundError when the embedding plugin is disabled, and what
        the plugin raises.
        """
        keys = [(view.index, text) for text in texts]
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
            for key in found:
                self._kept.move_to_end(key)
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if missing and runtime.embedder(view.generation_id).PROVIDER_TYPE == "remote":
            found |= dict(zip(missing, _embedded(runtime, view, [text for _, text in missing]), strict=True))
            self._end({key: found[key] for key in missing})
        elif missing:
            found |= self._together(runtime, view, missing)
        return [found[key] for key in keys]

    def _together(self, runtime: Any, view: Any, missing: list[tuple[str, str]]) -> dict[tuple[str, str], np.ndarray]:
        """Vectors made in as few passes as there can be, with those that others wait for."""
        with self._lock:
            mine = {key: self._waiting.setdefault(key, Future()) for key in missing}
            turn = self._at_work.setdefault(view.index, threading.Lock())
        while not all(one.done() for one in mine.values()):
            with turn:  # those who waited for it find their vectors made, or make them with all that came meanwhile
                self._embed_waiting(runtime, view, mine)
        return {key: one.result() for key, one in mine.items()}

    def forget(self, index: str) -> None:
        """The generation of that index is gone."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == index]:
                del self._kept[key]
            self._at_work.pop(index, None)

    def _embed_waiting(self, runtime: Any, view: Any, mine: dict[tuple[str, str], Future[np.ndarray]]) -> None:
        """One pass over those of ``mine`` that are still missing and over what others wait for."""
        own = [key for key, one in mine.items() if not one.done()][:TOGETHER]
        if not own:
            return
        with self._lock:
            others = [key for key in self._waiting if key[0] == view.index and key not in mine]
        batch = [*own, *others][:TOGETHER]
        try:
            try:
                vectors = _embedded(runtime, view, [text for _, text in batch])
            except Exception as error:
                if isinstance(error, TransientError) or len(batch) == len(own):
                    raise
                batch = own  # another one's text may be to blame: they meet it by themselves
                vectors = _embedded(runtime, view, [text for _, text in batch])
        except BaseException as error:  # what is nobody's fault, each of them would meet, one after the other
            self._end(dict.fromkeys(batch, error))
            return
        self._end(dict(zip(batch, vectors, strict=True)))

    def _end(self, outcomes: dict[tuple[str, str], Any]) -> None:
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


def _embedded(runtime: Any, view: Any, texts: list[str]) -> list[np.ndarray]:
    """One call of the plugin, checked."""
    import numpy as np

    embedder = runtime.embedder(view.generation_id)
    if len(texts) == 1:
        made = [runtime.host.call(embedder.embed_single, texts[0], mode=EmbeddingMode.QUERY)]
    else:
        made = runtime.host.call(embedder.embed_texts, texts, batch_size=len(texts), mode=EmbeddingMode.QUERY)
    if len(made) != len(texts):
        raise PluginError(
            f"The embedding plugin {type(embedder).PLUGIN_ID!r} gave {len(made)} vectors for {len(texts)} queries.",
            "Mend the plugin: embed_texts gives one vector for each text, in their order.",
        )
    vectors = [np.array(one, dtype=np.float32).reshape(-1) for one in made]
    for vector in vectors:
        vector.flags.writeable = False  # it is kept
        if len(vector) != view.dimension:
            raise DimensionMismatch(
                f"The embedding plugin {type(embedder).PLUGIN_ID!r} gave a query vector of {len(vector)} dimensions, "
                f"but the index of collection {view.collection!r} has {view.dimension}.",
                "The model changed since the collection was indexed: `semantik reindex` it, or give the model back.",
            )
    return vectors


def sparse_query(runtime: Any, view: Any, text: str) -> SparseVector:
    """The query's sparse vector, by the sparse model of the generation that search reads."""
    encoder = sparse_encoder(runtime, view.generation_id)
    assert encoder is not None  # the collection's configuration names one
    (vector,) = runtime.host.call(encoder.embed_sparse, [text], mode=EmbeddingMode.QUERY)
    return vector
