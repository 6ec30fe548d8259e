"""Makes calls to a Qdrant server: retries them when that can help, and converts its errors into this project's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from semantik_pipeline.errors import (
    PermanentError,
    PipelineError,
    PluginConfigError,
    ServiceFailing,
    ServiceUnavailable,
    StorageFull,
    UsageError,
    seconds_of,
)

Answer = TypeVar("Answer")

_AWAY = (408, 429, 502, 503, 504)  # 408: the server could not do in time what it was asked for
_AWAY_GRPC = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED")
_STATUS_OF_GRPC = {
    "NOT_FOUND": 404,
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "ALREADY_EXISTS": 409,
}
TLS = 495  # not sent by any server: this process rejected the server's certificate
LONGEST_WAIT = 10.0  # seconds between two tries, even if the server asks for more


class NoSuchCollection(UsageError):
    """The server does not have this collection, or no longer has it."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What went wrong: an HTTP status (0: no answer), the server's message, and the seconds that it asks us to wait."""

    status: int
    text: str
    retry_after: float | None = None

    @property
    def away(self) -> bool:
        return self.status == 0 or self.status in _AWAY

    @property
    def full(self) -> bool:
        return "no space left" in self.text.lower() or self.status == 507

    @property
    def locked(self) -> bool:
        """Whether an operator has temporarily forbidden writes (``POST /locks``)."""
        return self.status in (403, 500) and self.text.lower().startswith("locked")

    @property
    def passing(self) -> bool:
        return self.away or (self.status >= 500 and not self.full and not self.locked)


@dataclass(frozen=True, kw_only=True)
class Calls:
    """How often and how long to try. Every operation of the store is idempotent, so repeating it is safe."""

    url: str
    tries: int
    first_wait: float = 0.2  # seconds; doubles

    def make(self, call: Callable[[], Answer]) -> Answer:
        """The call's answer. Raises ServiceUnavailable after the last try, or the error that matches the refusal."""
        for attempt in range(self.tries):
            try:
                return call()
            except PipelineError:
                raise
            except Exception as error:
                fault = _fault(error)
                if fault is None:
                    raise
                if not fault.passing or attempt == self.tries - 1:
                    raise self._meaning(fault) from error
            wait = fault.retry_after if fault.retry_after is not None else self.first_wait * 2**attempt
            time.sleep(min(wait, LONGEST_WAIT))
        raise AssertionError("tries is at least 1")

    def _meaning(self, fault: Fault) -> PipelineError:
        text = fault.text[:300]
        if fault.away:
            return ServiceUnavailable(
                f"Qdrant at {self.url} is unavailable: {text}.",
                "Check that it runs (qdrant.url).",
                retry_after=fault.retry_after,
            )
        if fault.status == TLS:
            return PluginConfigError(
                f"The certificate of Qdrant at {self.url} is not trusted: {text}.",
                "Set SSL_CERT_FILE to a file with the certificate of the authority that signed it.",
            )
        if fault.locked:
            return ServiceUnavailable(f"Qdrant at {self.url} accepts no changes: {text}.", "Unlock it: POST /locks.")
        if fault.status in (401, 403):
            return PluginConfigError(
                f"Qdrant at {self.url} refuses the API key: {text}.",
                "Check the environment variable that api_key_env names.",
            )
        if fault.full:
            return StorageFull(f"The disk of Qdrant at {self.url} is full.", "Free some space there and run it again.")
        if fault.status == 404:
            return NoSuchCollection(f"Qdrant at {self.url} has no such index: {text}.")
        if 400 <= fault.status < 500:
            return PermanentError(f"Qdrant at {self.url} refuses the request: {text}.")
        return ServiceFailing(
            f"Qdrant at {self.url} failed ({fault.status}): {text}.", "See its own log.", fault.retry_after
        )


def _fault(error: Exception) -> Fault | None:
    """What an exception of qdrant-client means; None if it does not concern the server."""
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    if isinstance(error, ResourceExhaustedResponse):
        return Fault(status=429, text=str(error), retry_after=float(error.retry_after_s))
    if isinstance(error, UnexpectedResponse):
        after = seconds_of(error.headers.get("retry-after"))
        return Fault(status=error.status_code or 500, text=_words(error.content), retry_after=after)
    if isinstance(error, ResponseHandlingException):
        return _unanswered(f"{type(error.source).__name__}: {error.source}")
    code = getattr(error, "code", None)  # grpc.RpcError
    if callable(code):
        name = getattr(code(), "name", "UNKNOWN")
        status = 503 if name in _AWAY_GRPC else _STATUS_OF_GRPC.get(name, 500)
        return Fault(status=status, text=str(error.details() if hasattr(error, "details") else error))
    return None


def _unanswered(text: str) -> Fault:
    """The fault for a call without an answer. A certificate that was rejected will be rejected again."""
    return Fault(status=TLS if "CERTIFICATE_VERIFY_FAILED" in text else 0, text=text)


def _words(content: bytes) -> str:
    try:
        answer: Any = json.loads(content)
        return str(answer["status"]["error"]).rstrip(".")
    except (ValueError, KeyError, TypeError):
        return content[:300].decode("utf-8", "replace")
