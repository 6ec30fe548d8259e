"""Routes that check their caller before they read anything of the request's body."""

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
    """A route whose endpoint has a ``caller`` parameter (``dependencies.py``).

    The caller is authenticated and authorized first. Then the body is read within the route's limits (``bodies.py``).
    Blocking endpoints run in a thread (``threads.py``). Changes are recorded in the audit trail under the caller's
    name.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, threads.threaded(endpoint, options.get("operation_id")), **options)
        self.takes_files = any(isinstance(one.field_info, params.File) for one in self.dependant.body_params)
        rules = [one.call for one in self.dependant.dependencies if isinstance(one.call, Allowed)]
        if len(rules) != 1:
            raise TypeError(f"{self.path} must declare exactly once who may call it: give its endpoint one `caller`.")
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
    """A router whose routes are all guarded."""
    return APIRouter(tags=[tag], prefix=prefix, route_class=GuardedRoute)


async def _known(request: Request, asked: AuthRequest) -> Principal:
    """Authenticate the caller and count the request. Raises Unauthorized, or HTTPException 429 for too many requests.

    From an address with too many failed attempts, only API keys are still accepted: they cannot be guessed, and one
    caller with a wrong key must not lock out the others behind the same proxy.
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
