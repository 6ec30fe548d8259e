"""Routes that know who may call them: the caller is admitted before anything of the request's body is read."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response, params
from fastapi.routing import APIRoute

from semantik_pipeline import access, logs
from semantik_pipeline.api import threads
from semantik_pipeline.api.dependencies import Allowed
from semantik_pipeline.contracts.auth import AuthRequest, Principal
from semantik_pipeline.errors import Forbidden, Unauthorized


class GuardedRoute(APIRoute):
    """A route whose endpoint has a ``caller`` (``dependencies.py``). What it changes is noted under the caller's name.
    A body is read after that, within the route's limit (``bodies.py``); what blocks works in a thread (``threads.py``)."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, threads.threaded(endpoint, options.get("operation_id")), **options)
        self.takes_files = any(isinstance(one.field_info, params.File) for one in self.dependant.body_params)
        rules = [one.call for one in self.dependant.dependencies if isinstance(one.call, Allowed)]
        if len(rules) != 1:
            raise TypeError(
                f"{self.path} says not, or more than once, who may call it: give its endpoint one `caller`."
            )
        self.rule = rules[0]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            runtime = request.app.state.runtime
            threads.current.set(request.app.state.threads)
            if self.rule.unless(runtime.settings):
                return await handle(request)
            asked = AuthRequest(request.method, request.url.path, dict(request.headers), _address(request))
            caller = await _known(request, asked)
            request.state.caller = caller
            try:
                self.rule.check(caller, request.path_params)
                with access.acting_as(caller), logs.bound(caller=caller.name):
                    bodies = request.app.state.bodies
                    async with bodies.taking(request, caller=caller.name, files=self.takes_files) as read:
                        return await handle(read)
            except Forbidden as error:
                access.note_denied(runtime, error, asked, caller)
                raise

        return guarded


def guarded(tag: str, prefix: str = "") -> APIRouter:
    """A router of guarded routes."""
    return APIRouter(tags=[tag], prefix=prefix, route_class=GuardedRoute)


async def _known(request: Request, asked: AuthRequest) -> Principal:
    """Who calls, if that can be told, and asks not too often.

    From an address that tried too much, API keys alone still open: nobody guesses those, and one caller with a wrong
    key must not lock out the others behind the same proxy.
    """
    rates, address = request.app.state.rates, _address(request)
    spent = rates.tried(address)
    try:
        caller = await threads.current.get().run("auth", access.authenticate, request.app.state.runtime, asked)
    except Unauthorized:
        if spent is not None:
            rates.turn_away(address, spent)
        rates.refused(address)
        raise
    if spent is not None and not caller.name.startswith("key:"):
        rates.turn_away(address, spent)
    rates.asked(caller.name)
    return caller


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"
