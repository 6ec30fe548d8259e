"""The frame around each request: its id, its line in the log, and the handling of unexpected errors."""

from __future__ import annotations

import logging
import re
import time
from secrets import token_hex
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semantik_pipeline import logs
from semantik_pipeline.api import problems

if TYPE_CHECKING:
    from semantik_pipeline.tally import Tally

log = logging.getLogger(__name__)

HEADER = "X-Request-Id"

#: The media type of server-sent events.
EVENTS = "text/event-stream"

#: The route label of a request that matches no route.
UNKNOWN = "none"

#: A caller's own request id must match this, so that it cannot forge lines of the log.
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Frame:
    """Gives each request an id: the caller's ``X-Request-Id`` if that is valid, otherwise a new one. The response and
    every line of the log have this id. Also counts requests by route, method and status. An unexpected error is logged
    with its traceback and answered without it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _ID.fullmatch(given) else token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        began, status, streamed = time.monotonic(), 0, False

        async def answer(message: Message) -> None:
            nonlocal status, streamed
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                streamed = headers.get("Content-Type", "").startswith(EVENTS)
                headers[HEADER] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        with logs.bound(request=request_id):
            try:
                await self._app(scope, receive, answer)
            except Exception:
                log.exception("%s %s failed", scope["method"], scope["path"])
                if status:
                    raise  # the response has started: only a closed connection can show that it is broken
                await problems.inside(request_id)(scope, receive, answer)
            took = time.monotonic() - began
            level = logging.DEBUG if scope["method"] == "GET" and status < 400 else logging.INFO
            log.log(level, "%s %s %d in %.1f ms", scope["method"], scope["path"], status, 1000 * took)
            if not streamed:  # a stream of live progress lasts as long as its operation
                _count(scope["app"].state.runtime.tally, scope, status, took)


def _count(tally: Tally, scope: Scope, status: int, seconds: float) -> None:
    """Count by the route's template and not by the path, so that the label does not get a value for every document."""
    route = scope.get("route")
    path, methods = getattr(route, "path", UNKNOWN), getattr(route, "methods", None) or ()
    method = (
        scope["method"] if scope["method"] in methods else ""
    )  # callers can invent methods, also for existing paths
    tally.observe("http_request_duration_seconds", seconds, route=path, method=method, status=str(status))
