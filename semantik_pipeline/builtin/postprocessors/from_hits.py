"""The base class of postprocessors that need only the hits and their context."""

from __future__ import annotations

from typing import Any, ClassVar

from semantik_pipeline.contracts.plugin import HealthState, HealthStatus
from semantik_pipeline.contracts.postprocessor import PostprocessorPlugin


class FromHits(PostprocessorPlugin):
    """Needs no model and no server, so it is always healthy. ``OPTIONS`` are the properties of its schema; other
    options are rejected."""

    OPTIONS: ClassVar[dict[str, dict[str, Any]]] = {}

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": False, "properties": cls.OPTIONS}

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        return HealthStatus(HealthState.HEALTHY, "needs no model and no server")

    def option(self, name: str) -> Any:
        """The configured value, or else the schema's default."""
        return self.config.get(name, self.OPTIONS[name]["default"])
