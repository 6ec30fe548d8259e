"""The contract of every plugin, whatever its kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

#: The version of the plugin API. ``PluginManifest.semantik_version`` is a version specifier on it.
PLUGIN_API_VERSION = "2.0.0"


class HealthState(StrEnum):
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class HealthStatus:
    """The health of a plugin, and the reason in a sentence for an operator."""

    status: HealthState | str
    reason: str | None = None


@dataclass(frozen=True)
class PluginManifest:
    """The description of a plugin.

    ``requires`` lists requirements that must be installed (``torch>=2.0``). ``semantik_version`` is a version specifier
    on :data:`PLUGIN_API_VERSION` (``>=2.0,<3``).
    """

    id: str
    version: str
    type: str
    display_name: str
    description: str = ""
    author: str | None = None
    license: str | None = None
    homepage: str | None = None
    requires: list[str] = field(default_factory=list)
    semantik_version: str | None = None
    capabilities: dict[str, Any] = field(default_factory=dict)
    config_schema: dict[str, Any] | None = None


@runtime_checkable
class PluginProtocol(Protocol):
    """The shape that makes a class a plugin. Inheriting from a base class is optional."""

    PLUGIN_ID: ClassVar[str]

    def __init__(self, config: dict[str, Any] | None = None) -> None: ...


class SemanticPlugin:
    """The base class of all kinds. Only ``PLUGIN_ID`` is required; every default works.

    ``OUTPUT_VERSION`` is part of the fingerprint. Raise it when the same input and options give another output.
    """

    PLUGIN_TYPE: ClassVar[str] = ""
    PLUGIN_ID: ClassVar[str] = ""
    PLUGIN_VERSION: ClassVar[str] = "0.0.0"
    OUTPUT_VERSION: ClassVar[str] = "1"
    METADATA: ClassVar[dict[str, Any]] = {}

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        """Keep the configuration, and load nothing. The host has already resolved ``foo_env`` to ``foo``."""
        self.config: dict[str, Any] = dict(config or {})

    async def initialize(self) -> None:
        """Load models and open connections. Called once. May take ``config``, and in embedders ``model_name``."""

    async def cleanup(self) -> None:
        """Release what :meth:`initialize` took."""

    @classmethod
    def get_manifest(cls) -> PluginManifest:
        about = cls.METADATA
        return PluginManifest(
            id=cls.PLUGIN_ID,
            version=cls.PLUGIN_VERSION,
            type=cls.PLUGIN_TYPE,
            display_name=about.get("name") or about.get("display_name") or cls.PLUGIN_ID,
            description=about.get("description", ""),
            author=about.get("author"),
            license=about.get("license"),
            homepage=about.get("homepage"),
            requires=list(about.get("requires", [])),
            semantik_version=about.get("semantik_version"),
            capabilities=dict(about.get("capabilities", {})),
            config_schema=cls.get_config_schema(),
        )

    @classmethod
    def get_config_schema(cls) -> dict[str, Any] | None:
        """Return a JSON Schema of the configuration, or None to accept any option unchecked.

        Mark an option that controls how the work is done, not what comes out, with ``"x-operational": true``. Mark a
        secret with ``"secret": true``.
        """
        return None

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> bool | HealthStatus:
        """Return whether the plugin could work now with this configuration. Must be quick and must not load a model."""
        return HealthStatus(HealthState.UNKNOWN, "the plugin has no health check")

    def output_revision(self) -> str | None:
        """Return what else shapes the output besides id, version and options, such as a model's revision or hash.

        It is part of the stage's fingerprint. Must work before :meth:`initialize`.
        """
        return None
