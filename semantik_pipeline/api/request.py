"""The frame around each request: its id, its line in the log, and faults that nobody foresaw."""

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

#: The route of a request that no route takes.
UNKNOWN = "none"

#: What a caller's own id may be: nothing that could forge a line of a log.
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Frame:
    """Gives a request its id (the caller's ``X-Request-Id``, if it is one), which the answer and every line of the log
    carry, and counts it by route, method and status. What nobody foresaw is logged with its traceback and answered
    without."""

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
                    raise  # the answer has begun: only the connection can say that it is broken
                await problems.inside(request_id)(scope, receive, answer)
            took = time.monotonic() - began
            level = logging.DEBUG if scope["method"] == "GET" and status < 400 else logging.INFO
            log.log(level, "%s %s %d in %.1f ms", scope["method"], scope["path"], status, 1000 * took)
            if not streamed:  # live progress lasts as long as its operation
                _count(scope["app"].state.runtime.tally, scope, status, took)


def _count(tally: Tally, scope: Scope, status: int, seconds: float) -> None:
    """By the route's template, which names no document: a label must not have a value for each of them."""
    route = scope.get("route")
    path, methods = getattr(route, "path", UNKNOWN), getattr(route, "methods", None) or ()
    method = (
        scope["method"] if scope["method"] in methods else ""
    )  # anybody may make up methods, even of paths that are
    tally.observe("http_request_duration_seconds", seconds, route=path, method=method, status=str(status))
