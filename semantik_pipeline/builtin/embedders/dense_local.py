"""The ``dense-local`` embedder: runs any sentence-transformers model on this machine."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from semantik_pipeline.builtin.embedders.dense_local_schema import SCHEMA
from semantik_pipeline.builtin.embedders.device_turns import Lane
from semantik_pipeline.builtin.embedders.loaded_model import LoadedModel, ModelOptions, load_model
from semantik_pipeline.builtin.embedders.model_card import ModelCard, model_revision, read_model_card
from semantik_pipeline.builtin.embedders.model_location import cached_folder, hub_names, in_models_folder, locate_model
from semantik_pipeline.builtin.embedders.model_tokenizer import ModelTokenizer
from semantik_pipeline.builtin.embedders.packaged_model import NAMES
from semantik_pipeline.contracts.embedding import EmbeddingMode, EmbeddingPlugin
from semantik_pipeline.contracts.models import MARKS, ModelFiles, ModelUsage
from semantik_pipeline.contracts.plugin import HealthState, HealthStatus
from semantik_pipeline.errors import PluginError

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

DEFAULT_MODEL = NAMES[0]


class DenseLocalEmbedder(EmbeddingPlugin):
    """Dense vectors from a model in a folder, an installed package, or the local Hugging Face cache."""

    PLUGIN_ID: ClassVar[str] = "dense-local"
    PLUGIN_VERSION: ClassVar[str] = "2.0.0"
    PROVIDER_TYPE: ClassVar[str] = "local"
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Local sentence-transformers model",
        "description": "Embeds with any sentence-transformers model by name or path; all-MiniLM-L6-v2 by default.",
    }

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._model: LoadedModel | None = None
        # Threads keep the event loop free; the device itself is shared by turns (device_turns.py).
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="dense-local")

    # -- before initialize: reads files only, without torch ----------------------------------------------------------

    @cached_property
    def located(self) -> ModelFiles:
        return _locate(self.config)

    @cached_property
    def card(self) -> ModelCard:
        return read_model_card(self.located.path)

    @cached_property
    def tokenizer(self) -> ModelTokenizer:
        return ModelTokenizer(self.located.path)

    def prompt(self, mode: EmbeddingMode) -> str:
        """The configured prompt for the mode, or else the model's own."""
        said = self.config.get(f"{mode}_prompt")
        return said if said is not None else getattr(self.card, f"{mode}_prompt")

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self.tokenizer.count(texts)

    def max_input_tokens(self) -> int | None:
        prompt = self.prompt(EmbeddingMode.DOCUMENT)
        taken = self.tokenizer.special_count + (self.tokenizer.count([prompt])[0] if prompt else 0)
        return max(1, self.card.window - taken) if self.card.window else None

    def tokenizer_revision(self) -> str:
        return self.tokenizer.revision()

    def output_revision(self) -> str | None:
        """A hash of the model's configuration and weights, without the precision (see ``precision.py``)."""
        return model_revision(self.located.path)

    # -- the model ---------------------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Load the weights (1 to 8 s)."""
        await self._in_thread(self._loaded)

    async def cleanup(self) -> None:
        self._model = None
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def embed_texts(
        self, texts: list[str], batch_size: int = 32, *, mode: EmbeddingMode = EmbeddingMode.DOCUMENT
    ) -> np.ndarray:
        """(n, d) float32. Micro-batches follow the token budget, so ``batch_size`` is ignored.

        A text longer than the window is embedded in several windows, whose vectors are averaged weighted by their
        tokens; a warning is logged. Queries go before documents on the device.
        """
        stop = threading.Event()
        try:
            return await self._in_thread(self._embed, list(texts), EmbeddingMode(mode), stop)
        finally:
            stop.set()  # a cancelled call releases the device after its current micro-batch

    def embed_single(self, text: str, *, mode: EmbeddingMode = EmbeddingMode.QUERY) -> Any:
        """(d,) float32. Synchronous, so that a search waits only for the model's thread, not for the event loop too."""
        return self._threads.submit(self._embed, [text], EmbeddingMode(mode), threading.Event()).result()[0]

    async def get_dimension(self) -> int:
        return self.card.dimension or len((await self.embed_texts(["dimension probe"]))[0])

    def model_files(self) -> ModelFiles:
        return self.located

    def usage(self) -> ModelUsage | None:
        return self._model.usage if self._model is not None else None

    def get_model_info(self) -> dict[str, Any]:
        """Facts for an operator; device, precision and parameters are included once the model is loaded."""
        info: dict[str, Any] = {
            "model": self.located.name,
            "origin": self.located.origin,
            "path": str(self.located.path),
            "dimension": self.card.dimension,
            "window": self.card.window,
        }
        if self._model is not None:
            backend = self._model.backend
            info |= {"device": backend.device, "precision": backend.precision, "parameters": backend.parameters}
            info |= {"backend": backend.name, "batch_tokens": self._model.batch_tokens}
        return info

    def _loaded(self) -> LoadedModel:
        if self._model is None:
            self._model = load_model(self.located, ModelOptions.of(self.config))
            backend = self._model.backend
            told = (self.located.name, self.located.origin, backend.device, backend.precision)
            log.info("the model %s comes from %s; device %s, %s", *told)
        return self._model

    def _embed(self, texts: list[str], mode: EmbeddingMode, stop: threading.Event) -> np.ndarray:
        import numpy as np

        from semantik_pipeline.builtin.embedders.window_average import averaged, unit_length

        model, prompt = self._loaded(), self.prompt(mode)
        if not texts:
            return np.zeros((0, self.card.dimension or 0), dtype=np.float32)
        windows = model.tokenizer.windows(texts, prompt, self.card.window)
        if len(windows) > len(texts):
            many = len({window.owner for window in windows if len(window.text) < len(texts[window.owner])})
            log.warning("%d of %d texts exceed the window of %d tokens: averaged", many, len(texts), self.card.window)
        lane = Lane.QUERY if mode is EmbeddingMode.QUERY else Lane.BULK
        vectors = model.vectors(windows, prompt, lane=lane, stop=stop)
        vectors = averaged(vectors, windows, len(texts))
        return unit_length(vectors) if self.config.get("normalize", True) else vectors

    async def _in_thread(self, function, *args):
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    # -- what the host asks the class ----------------------------------------------------------------------------------

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return SCHEMA

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        try:
            located = await asyncio.to_thread(_locate, config or {})
        except PluginError as error:
            return HealthStatus(HealthState.UNHEALTHY, str(error))
        return HealthStatus(HealthState.HEALTHY, f"{located.name} from {located.origin}")

    @classmethod
    def supports_model(cls, name: str, config: dict[str, Any] | None = None) -> bool:
        """True for a folder with a model, the packaged names, ``sentence-transformers/*``, and models in the models
        folder or the local cache."""
        folder = Path(name).expanduser()
        if any((folder / file).is_file() for file in MARKS):
            return True
        if name in NAMES or name.startswith("sentence-transformers/"):
            return True
        if in_models_folder(name, (config or {}).get("models_dir")) is not None:
            return True
        return any(cached_folder(repository) for repository in hub_names(name))


def _locate(config: dict[str, Any]) -> ModelFiles:
    return locate_model(
        config.get("model") or DEFAULT_MODEL,
        revision=config.get("revision"),
        models_dir=config.get("models_dir"),
    )
