"""Embedders turn texts into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from semantik_pipeline.contracts.chunking import estimate_tokens
from semantik_pipeline.contracts.models import ModelFiles, ModelUsage
from semantik_pipeline.contracts.plugin import SemanticPlugin
from semantik_pipeline.documents import SparseVector
from semantik_pipeline.errors import PluginConfigError


class EmbeddingMode(StrEnum):
    """What a text is. Models with prompts embed queries and documents differently."""

    QUERY = "query"
    DOCUMENT = "document"


@dataclass(frozen=True, kw_only=True)
class EmbeddingProviderDefinition:
    """The description of a provider, for lists and forms."""

    api_id: str
    internal_id: str
    display_name: str
    description: str = ""
    provider_type: str = "local"
    supports_asymmetric: bool = False
    supported_models: tuple[str, ...] = ()
    default_config: dict[str, Any] = field(default_factory=dict)


class EmbeddingPlugin(SemanticPlugin):
    """Turns texts into vectors of one length. Vectors need not be normalised."""

    PLUGIN_TYPE: ClassVar[str] = "embedding"
    PROVIDER_TYPE: ClassVar[str] = "local"

    async def embed_texts(
        self, texts: list[str], batch_size: int = 32, *, mode: EmbeddingMode = EmbeddingMode.DOCUMENT
    ) -> Any:
        """Return an (n, d) array of float32, or n lists of d floats, in the order of the texts.

        The plugin adds its own prompt for the mode. Raise ServiceUnavailable when an endpoint is unavailable.
        """
        raise NotImplementedError

    async def embed_sparse(
        self, texts: Sequence[str], *, mode: EmbeddingMode = EmbeddingMode.DOCUMENT
    ) -> list[SparseVector]:
        """Return a sparse vector for each text, with weights above 0.

        Collections that name this plugin in ``sparse`` use it.
        """
        raise PluginConfigError(
            f"The embedding plugin {self.PLUGIN_ID!r} gives no sparse vectors.", "Name another one in sparse.plugin."
        )

    async def embed_single(self, text: str, *, mode: EmbeddingMode = EmbeddingMode.QUERY) -> Any:
        """Return one vector of d floats."""
        return (await self.embed_texts([text], mode=mode))[0]

    async def get_dimension(self) -> int:
        """Return d. The default embeds one probe and remembers the answer."""
        if not hasattr(self, "_probed_dimension"):
            self._probed_dimension = len(await self.embed_single("dimension probe", mode=EmbeddingMode.DOCUMENT))
        return self._probed_dimension

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text by the model's own tokenizer, without special tokens.

        Must work before :meth:`initialize` and must not load a model: chunkers call it in the child process.
        """
        return estimate_tokens(texts)

    def max_input_tokens(self) -> int | None:
        """Return the length of the longest text that the model reads whole, or None if no limit is known.

        It is in :meth:`count_tokens`' tokens, after the prompt and special tokens are subtracted. Works before
        :meth:`initialize`.
        """
        return None

    def tokenizer_revision(self) -> str:
        """Return what identifies the tokenizer: part of the chunking fingerprint. Works before :meth:`initialize`."""
        return "estimate"

    def get_model_info(self) -> dict[str, Any]:
        """Return name, dimension, window, device and precision, for operators."""
        return {"model": self.config.get("model")}

    def model_files(self) -> ModelFiles | None:
        """Return the files of the configured model, or None for a model without files here.

        Works before :meth:`initialize`. Raise PluginLoadError, saying where you looked, if they are missing.
        """
        return None

    def usage(self) -> ModelUsage | None:
        """Return what the model in memory was used for, or None if there is none or nobody counts."""
        return None

    @classmethod
    def get_definition(cls) -> EmbeddingProviderDefinition:
        manifest = cls.get_manifest()
        return EmbeddingProviderDefinition(
            api_id=manifest.id,
            internal_id=manifest.id.replace("-", "_"),
            display_name=manifest.display_name,
            description=manifest.description,
            provider_type=cls.PROVIDER_TYPE,
        )

    @classmethod
    def supports_model(cls, name: str, config: dict[str, Any] | None = None) -> bool:
        """Return whether a collection that names only this model means this plugin.

        ``config`` is what is configured in this installation. A plugin that doesn't take it is called without it.
        """
        return False
