"""The options of a Qdrant server, as properties of a JSON schema."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from semantik_pipeline.errors import PluginConfigError


def _operational(kind: str, description: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "description": description, "x-operational": True, **more}


OPTIONS: dict[str, dict[str, Any]] = {
    "url": _operational("string", "Where the server is, http://localhost:6333 for one."),
    "api_key": _operational("string", "The server's API key; give api_key_env.", secret=True),
    "prefer_grpc": _operational("boolean", "Use gRPC, which is faster where its port is open.", default=False),
    "grpc_port": _operational("integer", "The server's gRPC port.", default=6334),
    "timeout": _operational("integer", "Seconds that the server may take for one call.", default=30, minimum=1),
    "read_timeout": _operational(
        "integer",
        "Seconds for a call that only reads, as a search does. It is made twice at most.",
        default=5,
        minimum=1,
    ),
    "tries": _operational(
        "integer", "How often a call is made before the server counts as away.", default=4, minimum=1
    ),
    "batch_points": _operational("integer", "Points in one upload.", default=128, minimum=1),
    "indexed_only": _operational(
        "boolean",
        "Search by vector only what the optimizer has indexed: steady while much is written, but new points come late.",
        default=False,
    ),
    "parallel": _operational("integer", "Uploads at once.", default=2, minimum=1, maximum=16),
}


def check_url(url: str | None) -> None:
    """Raise PluginConfigError if this is not the address of a server. Without a scheme, HTTP is assumed."""
    try:
        parts = urlsplit(url if "://" in (url or "") else f"http://{url or ''}")
        usable = bool(parts.hostname) and parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:  # an unclosed bracket, or a port that is not a number
        usable = False
    if not usable:
        raise PluginConfigError(
            f"The url of qdrant is no address of a server: {(url or '')!r}.",
            "Write http://HOST:6333 or https://HOST, an IPv6 address in brackets (qdrant.url).",
        )
