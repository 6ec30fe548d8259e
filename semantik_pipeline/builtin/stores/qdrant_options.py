"""The options of a Qdrant server, as properties of a JSON schema."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from semantik_pipeline.errors import PluginConfigError


def _operational(kind: str, description: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "description": description, "x-operational": True, **more}


OPTIONS: dict[str, dict[str, Any]] = {
    "url": _operational("string", "URL of the server, such as http://localhost:6333."),
    "api_key": _operational("string", "API key of the server, given as api_key_env.", secret=True),
    "prefer_grpc": _operational("boolean", "Use gRPC, which is faster, if its port is open.", default=False),
    "grpc_port": _operational("integer", "The server's gRPC port.", default=6334),
    "timeout": _operational("integer", "Timeout of a call, in seconds.", default=30, minimum=1),
    "read_timeout": _operational(
        "integer",
        "Timeout of a call that only reads, such as a search, in seconds. Such a call is tried at most twice.",
        default=5,
        minimum=1,
    ),
    "tries": _operational(
        "integer", "Number of attempts before the server counts as unavailable.", default=4, minimum=1
    ),
    "batch_points": _operational("integer", "Number of points in one upload.", default=128, minimum=1),
    "indexed_only": _operational(
        "boolean",
        "Search by vector only what the optimizer has indexed. Search times stay steady during many writes, but new"
        " points are found later.",
        default=False,
    ),
    "parallel": _operational("integer", "Number of concurrent uploads.", default=2, minimum=1, maximum=16),
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
            f"The url of qdrant is not a valid server address: {(url or '')!r}.",
            "Write http://HOST:6333 or https://HOST, with an IPv6 address in brackets (qdrant.url).",
        )
