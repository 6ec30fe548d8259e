"""The base class of rerankers that run a model on this machine: how the model is named, found, checked and loaded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from semantik_pipeline.builtin.embedders.dense_local_schema import LOADING
from semantik_pipeline.builtin.embedders.model_card import model_revision
from semantik_pipeline.builtin.embedders.model_location import locate_model
from semantik_pipeline.contracts.models import ModelFiles, ModelUsage
from semantik_pipeline.contracts.plugin import HealthState, HealthStatus
from semantik_pipeline.contracts.reranker import RerankerCapabilities, RerankerPlugin
from semantik_pipeline.errors import PluginError


class LocalModelReranker(RerankerPlugin):
    """Subclasses set ``DEFAULT_MODEL``, ``MODEL_OPTION`` (the description of the option ``model``), ``MODEL_KIND`` (the
    name of such a model in messages) and ``CALIBRATED``, and implement ``load``, which blocks."""

    DEFAULT_MODEL: ClassVar[str]
    MODEL_OPTION: ClassVar[str]
    MODEL_KIND: ClassVar[str]
    CALIBRATED: ClassVar[bool] = False

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._loaded: Any = None
        self._loading = threading.Lock()
        # The event loop's own threads are for short work: calls that wait for the device would occupy them all. These
        # threads live as long as the plugin, not its model: a model released between two calls is loaded again.
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix=self.PLUGIN_ID)

    def load(self, located: ModelFiles) -> Any:
        raise NotImplementedError

    def loaded(self) -> Any:
        """The result of ``load``; loads the model if necessary, once for all threads that ask for it."""
        loaded = self._loaded
        if loaded is None:
            with self._loading:
                loaded = self._loaded
                if loaded is None:
                    loaded = self._loaded = self.load(self.locate(self.config))
        return loaded

    async def stoppable(self, work: Callable[..., Iterable[float]], *args: Any) -> list[float]:
        """Scores computed by ``work(*args, stop)`` in one of this plugin's threads. A cancelled call sets the event
        ``stop``, which makes it release the device after its current micro-batch."""
        stop = threading.Event()
        try:
            scores = lambda: [float(score) for score in work(*args, stop)]  # noqa: E731
            return await asyncio.get_running_loop().run_in_executor(self._threads, scores)
        finally:
            stop.set()

    async def initialize(self) -> None:
        """Load the weights."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self.loaded)

    async def cleanup(self) -> None:
        self._loaded = None

    def model_files(self) -> ModelFiles:
        return self.locate(self.config)

    def usage(self) -> ModelUsage | None:
        return self._loaded.usage if self._loaded is not None else None

    def get_model_info(self) -> dict[str, Any]:
        """Facts for an operator; the device is included once the model is loaded."""
        located, loaded = self.locate(self.config), self._loaded
        info = {"model": located.name, "origin": located.origin, "path": str(located.path)}
        return info if loaded is None else {**info, "device": loaded.device}

    def output_revision(self) -> str | None:
        return model_revision(self.locate(self.config).path)

    @classmethod
    def get_capabilities(cls) -> RerankerCapabilities:
        """As many texts per call as the pace allows: a cancelled call stops after its current micro-batch."""
        return RerankerCapabilities(
            max_documents=256,
            max_query_length=256,
            max_doc_length=4096,
            models=(cls.DEFAULT_MODEL,),
            calibrated=cls.CALIBRATED,
        )

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "model": {"type": "string", "default": cls.DEFAULT_MODEL, "description": cls.MODEL_OPTION},
                "revision": {"type": ["string", "null"], "description": "Branch, tag or commit on the hub."},
                **LOADING,
            },
        }

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        try:
            located = await asyncio.to_thread(cls.locate, config or {})
        except PluginError as error:
            return HealthStatus(HealthState.UNHEALTHY, str(error))
        return HealthStatus(HealthState.HEALTHY, f"{located.name} from {located.origin}")

    @classmethod
    def locate(cls, config: dict[str, Any]) -> ModelFiles:
        """Find the configured model's folder. Raises PluginError, which lists where it was looked for."""
        return locate_model(
            config.get("model") or cls.DEFAULT_MODEL,
            revision=config.get("revision"),
            models_dir=config.get("models_dir"),
            kind=cls.MODEL_KIND,
        )
