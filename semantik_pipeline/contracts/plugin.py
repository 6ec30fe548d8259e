"""What every plugin is, whatever its kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

#: The version of the plugin API that ``PluginManifest.semantik_version`` is a specifier on.
PLUGIN_API_VERSION = "2.0.0"


class HealthState(StrEnum):
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class HealthStatus:
    """How a plugin is, and why, in a sentence for an operator."""

    status: HealthState | str
    reason: str | None = None


@dataclass(frozen=True)
class PluginManifest:
    """What a plugin says of itself.

    ``requires`` are requirement strings (``torch>=2.0``) that must be installed; ``semantik_version`` is a version
    specifier on :data:`PLUGIN_API_VERSION` (``>=2.0,<3``).
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
    """The shape that is enough for a class to be a plugin; inheriting is a convenience."""

    PLUGIN_ID: ClassVar[str]

    def __init__(self, config: dict[str, Any] | None = None) -> None: ...


class SemanticPlugin:
    """The base of all kinds. Only ``PLUGIN_ID`` must be set; each default here works.

    ``OUTPUT_VERSION`` is part of the fingerprint: raise it when the same input and options give another output.
    """

    PLUGIN_TYPE: ClassVar[str] = ""
    PLUGIN_ID: ClassVar[str] = ""
    PLUGIN_VERSION: ClassVar[str] = "0.0.0"
    OUTPUT_VERSION: ClassVar[str] = "1"
    METADATA: ClassVar[dict[str, Any]] = {}

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        """Light: keep the configuration, load nothing. ``foo_env`` has become ``foo`` here."""
        self.config: dict[str, Any] = dict(config or {})

    async def initialize(self) -> None:
        """Heavy, once: load models, open connections. May ask for ``config`` (and ``model_name``, embedders)."""

    async def cleanup(self) -> None:
        """Give back what :meth:`initialize` took."""

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
        """A JSON Schema of the configuration (None: takes anything, checks nothing).

        Mark how-not-what options ``"x-operational": true``, and secrets ``"secret": true``.
        """
        return None

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> bool | HealthStatus:
        """Whether the plugin could work now with this configuration; quick, loads no model."""
        return HealthStatus(HealthState.UNKNOWN, "the plugin has no health check")

    def output_revision(self) -> str | None:
        """What else shapes the output beside id, version and options: a model's revision or hash.

        Part of the stage's fingerprint. Must be computable before :meth:`initialize`.
        """
        return None
