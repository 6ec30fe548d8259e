"""What an answer that is not a success becomes: the error that the server met, of the same class, with its hint."""

from __future__ import annotations

import re
from typing import Any

from httpx import ConnectError, ConnectTimeout, Response, TransportError

from semantik_pipeline import errors
from semantik_pipeline.client.retries import retry_after
from semantik_pipeline.errors import ApiError, PipelineError, ServiceUnavailable, TransientError, UsageError

_URN = "urn:semantik:problem:"

#: Of the system's errors, whose words say enough.
_ERRNO = re.compile(r"\[Errno -?\d+\] ?")

#: Problems that the API's framework finds, which have no class here.
_NAMES: dict[str, type[PipelineError]] = {
    "InvalidRequest": UsageError,
    "ContentTooLarge": UsageError,
    "TooManyRequests": TransientError,
    "ServiceUnavailable": ServiceUnavailable,
}


def failure_of(response: Response) -> PipelineError:
    """The error of an answer. Its body has been read."""
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
    """The error of a request that got no answer."""
    why = _ERRNO.sub("", str(error)).strip().rstrip(".") or type(error).__name__
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
    """The problem document; empty where something between us and the server answered."""
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
