"""Converts error responses into the errors that occurred on the server, with the same class and hint."""

from __future__ import annotations

import re
from typing import Any

from httpx import ConnectError, ConnectTimeout, Response, TransportError

from semantik_pipeline import errors
from semantik_pipeline.client.retries import retry_after
from semantik_pipeline.errors import ApiError, PipelineError, ServiceUnavailable, TransientError, UsageError

_URN = "urn:semantik:problem:"

#: The prefix of the operating system's error messages, which is left out.
_ERRNO = re.compile(r"\[Errno -?\d+\] ?")

#: Problems detected by the API's framework, which have no class of the same name here.
_NAMES: dict[str, type[PipelineError]] = {
    "InvalidRequest": UsageError,
    "ContentTooLarge": UsageError,
    "TooManyRequests": TransientError,
    "ServiceUnavailable": ServiceUnavailable,
}


def failure_of(response: Response) -> PipelineError:
    """The error that a response stands for. Its body must have been read."""
    problem = _problem(response)
    kind = str(problem.get("type", "")).removeprefix(_URN)
    told = str(problem.get("detail") or f"The server answered {response.status_code} {response.reason_phrase}.")
    hint = problem.get("hint")
    found = _class_of(kind)
    if found is None:
        request_id = problem.get("request_id") or response.headers.get("x-request-id")
        hint = hint or (f"See the server's log for the request id {request_id}." if request_id else None)
        return ApiError(told, hint, status=response.status_code, request_id=request_id)
    if issubclass(found, TransientError):
        return found(told, hint, retry_after=retry_after(response))
    return found(told, hint)


def unreachable(url: str, error: TransportError) -> ServiceUnavailable:
    """The error for a request that got no response."""
    why = _ERRNO.sub("", str(error)).strip().rstrip(".") or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in why:
        hint = "Check the address, or set SSL_CERT_FILE to a file with the certificate of the authority that signed it."
        return ServiceUnavailable(f"The certificate of the server at {url} is not trusted: {why}.", hint)
    unmet = isinstance(error, ConnectError | ConnectTimeout)
    hint = (
        "Start one with `semantik serve`, or check the address." if unmet else "See that it is running, and try again."
    )
    return ServiceUnavailable(f"The server at {url} does not answer: {why}.", hint)


def _class_of(kind: str) -> type[PipelineError] | None:
    if kind in _NAMES:
        return _NAMES[kind]
    found = getattr(errors, kind, None) if kind.isidentifier() else None
    return found if isinstance(found, type) and issubclass(found, PipelineError) and found is not ApiError else None


def _problem(response: Response) -> dict[str, Any]:
    """The problem document; empty if the response came from something between client and server."""
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
