"""The ``learned-sparse`` encoder: SPLADE and similar models, an alternative to BM25."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

from semantik_pipeline.builtin.embedders.dense_local_schema import LOADING
from semantik_pipeline.builtin.embedders.device_turns import Lane
from semantik_pipeline.builtin.embedders.loaded_model import ModelOptions
from semantik_pipeline.builtin.embedders.model_card import model_revision, read_model_card
from semantik_pipeline.builtin.embedders.model_location import locate_model
from semantik_pipeline.builtin.embedders.model_tokenizer import ModelTokenizer
from semantik_pipeline.contracts.embedding import EmbeddingMode, EmbeddingPlugin
from semantik_pipeline.contracts.plugin import HealthState, HealthStatus
from semantik_pipeline.documents import SparseVector
from semantik_pipeline.errors import PluginConfigError, PluginError

if TYPE_CHECKING:
    from semantik_pipeline.builtin.embedders.loaded_sparse import LoadedSparse
    from semantik_pipeline.contracts.models import ModelFiles, ModelUsage


class LearnedSparseEncoder(EmbeddingPlugin):
    """Any sentence-transformers SparseEncoder, by name or path. It produces sparse vectors only: a collection names it
    in ``sparse.model``, alongside the model of its dense vectors. Loading it takes 5 to 8 s."""

    PLUGIN_ID: ClassVar[str] = "learned-sparse"
    PLUGIN_VERSION: ClassVar[str] = "1.0.0"
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Learned sparse encoder",
        "description": "Weights words with a model (SPLADE) instead of BM25. Requires separate model weights.",
    }

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._loaded: LoadedSparse | None = None
        self._loading = threading.Lock()
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="learned-sparse")

    async def initialize(self) -> None:
        """Load the weights."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self.loaded)

    async def cleanup(self) -> None:
        self._loaded = None
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def embed_texts(
        self, texts: list[str], batch_size: int = 32, *, mode: EmbeddingMode = EmbeddingMode.DOCUMENT
    ) -> Any:
        raise PluginConfigError(
            "learned-sparse produces only sparse vectors, no dense ones.",
            "Set sparse.model to its model, and choose another plugin for embedding.",
        )

    async def embed_sparse(
        self, texts: Sequence[str], *, mode: EmbeddingMode = EmbeddingMode.DOCUMENT
    ) -> list[SparseVector]:
        """A text longer than the window is read in several windows; each term gets its greatest weight among them, just
        as the model itself combines the tokens of one window. Queries go before documents on the device."""
        stop = threading.Event()
        lane = Lane.QUERY if mode is EmbeddingMode.QUERY else Lane.BULK
        work = lambda: self.loaded().vectors(texts, query=mode == "query", lane=lane, stop=stop)  # noqa: E731
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            stop.set()  # a cancelled call releases the device after its current micro-batch

    def loaded(self) -> LoadedSparse:
        from semantik_pipeline.builtin.embedders.loaded_sparse import LoadedSparse

        with self._loading:
            if self._loaded is None:
                self._loaded = LoadedSparse(
                    _locate(self.config), ModelOptions.of(self.config), self.config.get("max_terms")
                )
            return self._loaded

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return ModelTokenizer(_locate(self.config).path).count(texts)

    def max_input_tokens(self) -> int | None:
        return read_model_card(_locate(self.config).path).window

    def tokenizer_revision(self) -> str:
        return ModelTokenizer(_locate(self.config).path).revision()

    def output_revision(self) -> str | None:
        return model_revision(_locate(self.config).path)

    def get_model_info(self) -> dict[str, Any]:
        """Facts for an operator; the device is included once the model is loaded."""
        located, loaded = _locate(self.config), self._loaded
        info = {"model": located.name, "origin": located.origin, "path": str(located.path)}
        return info if loaded is None else {**info, "device": loaded.device}

    def model_files(self) -> ModelFiles:
        return _locate(self.config)

    def usage(self) -> ModelUsage | None:
        return self._loaded.usage if self._loaded is not None else None

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "model": {"type": ["string", "null"], "description": "Name on the hub, or a folder."},
                "revision": {"type": ["string", "null"], "description": "Branch, tag or commit on the hub."},
                "max_terms": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 256,
                    "description": "Maximum number of terms in a vector, those with the largest weights; each takes 6"
                    " bytes in a point.",
                },
                **LOADING,
            },
        }

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        if not (config or {}).get("model"):
            return HealthStatus(HealthState.UNKNOWN, "a collection names its model in sparse.model")
        try:
            located = await asyncio.to_thread(_locate, config or {})
        except PluginError as error:
            return HealthStatus(HealthState.UNHEALTHY, str(error))
        return HealthStatus(HealthState.HEALTHY, f"{located.name} from {located.origin}")


def _locate(config: dict[str, Any]) -> ModelFiles:
    """Find the model's folder. Raises PluginError, which lists where it was looked for."""
    if not config.get("model"):
        raise PluginConfigError("learned-sparse needs a model.", "Set sparse.model.")
    return locate_model(
        config["model"],
        revision=config.get("revision"),
        models_dir=config.get("models_dir"),
        kind="sparse encoder",
    )
