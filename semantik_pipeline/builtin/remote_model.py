"""What plugins have in common whose model answers at an HTTP endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from semantik_pipeline.builtin.json_endpoint import JsonEndpoint, lists_models
from semantik_pipeline.contracts.plugin import HealthState, HealthStatus, SemanticPlugin
from semantik_pipeline.errors import PluginConfigError

if TYPE_CHECKING:
    import httpx

#: Of an option that says how, not what.
HOW = {"x-operational": True}

#: Seconds that a health check waits, at most.
CHECKED = 5.0

_RETRIED = "Maximum number of retries after 429, 5xx or a lost connection, "


def remote_options(*, timeout: float, max_retries: int, within: str) -> dict[str, dict[str, Any]]:
    """The options of every such plugin, with these defaults; ``within`` says what bounds its tries."""
    return {
        "model": {"type": "string", "description": "Name of the model at the endpoint."},
        "api_key": {"type": ["string", "null"], "secret": True, "description": "API key, given as api_key_env.", **HOW},
        "timeout": {
            "type": "number",
            "default": timeout,
            "exclusiveMinimum": 0,
            "description": "Timeout in seconds.",
            **HOW,
        },
        "max_retries": {
            "type": "integer",
            "default": max_retries,
            "minimum": 0,
            "description": _RETRIED + within,
            **HOW,
        },
    }


class RemoteModel(SemanticPlugin):
    """Stands before its kind among a plugin's bases. ``SCHEMA`` has :func:`remote_options` and ``base_url``."""

    SCHEMA: ClassVar[dict[str, Any]]

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._endpoint: Any = None

    async def initialize(self) -> None:
        """Open the HTTP client; asks the server nothing. Raises PluginConfigError for an option that is needed and not
        there."""
        import httpx

        for name in self.SCHEMA["required"]:
            if not self.config.get(name):
                raise PluginConfigError(
                    f"{self.PLUGIN_ID} needs the option {name}.", "Configure it: `semantik plugins configure`."
                )
        self._endpoint = self._opened(httpx.AsyncClient(timeout=self.option("timeout")))

    def _opened(self, client: httpx.AsyncClient) -> JsonEndpoint:
        """The endpoint, asked through this client; made of :meth:`_where` and what is the plugin's own."""
        raise NotImplementedError

    def _where(self, path: str) -> dict[str, Any]:
        """What every endpoint is made of; ``path`` is below ``base_url``."""
        return {
            "url": self.option("base_url").rstrip("/") + path,
            "model": self.config["model"],
            "key": self.config.get("api_key"),
            "key_name": self.config.get("api_key_env") or "the variable that api_key_env names",
            "max_retries": self.option("max_retries"),
        }

    async def cleanup(self) -> None:
        if self._endpoint is not None:
            await self._endpoint.client.aclose()
        self._endpoint = None

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return cls.SCHEMA

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        """Whether the server lists its models with this key, where it does that (``GET /models``); costs nothing."""
        config = config or {}
        for name in cls.SCHEMA["required"]:
            if not config.get(name):
                return HealthStatus(HealthState.UNHEALTHY, f"no {name} is configured")
        seconds = min(CHECKED, cls._option_of(config, "timeout"))
        return await lists_models(cls._option_of(config, "base_url"), config.get("api_key"), seconds)

    def option(self, name: str) -> Any:
        """The configured value, else the schema's default."""
        return self._option_of(self.config, name)

    @classmethod
    def _option_of(cls, config: dict[str, Any], name: str) -> Any:
        value = config.get(name)
        return cls.SCHEMA["properties"][name].get("default") if value is None else value
