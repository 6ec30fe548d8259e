"""The application: its routes, the frame around each request, and the answers to errors."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from anyio import move_on_after
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from semantik_pipeline import __version__
from semantik_pipeline.api import openapi, problems
from semantik_pipeline.api.bodies import Bodies
from semantik_pipeline.api.downloads import DOCUMENTS, Downloads
from semantik_pipeline.api.rates import Rates
from semantik_pipeline.api.request import Frame
from semantik_pipeline.api.streams import Streams
from semantik_pipeline.api.threads import Threads
from workers.remote_search import Searching

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

PREFIX = "/api/v2"

#: Seconds that the connections for remote searches have to close at shutdown.
CLOSING = 5.0

#: Modules of ``routes``, in the order of the OpenAPI document.
RESOURCES = (
    "collections",
    "transfers",
    "sources",
    "documents",
    "pushes",
    "search",
    "operations",
    "trash",
    "plugins",
    "offers",
    "fleet",
    "host",
    "keys",
    "status",
    "health",
    "metrics",
)


def create_app(runtime: Runtime) -> FastAPI:
    """Create the API for a runtime. The caller remains responsible for closing the runtime.

    ``app.state`` holds what routes share. Its event ``ending`` is set when the server stops, so that long answers (live
    progress) end by themselves.
    """
    settings = runtime.settings.api
    app = FastAPI(
        title="Semantik Pipeline",
        version=__version__,
        summary="Index documents, keep the index up to date, and search it.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # the page would load its scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        middleware=_middleware(settings.cors_origins),
    )
    app.state.runtime = runtime
    app.state.rates = Rates(settings)
    app.state.ending = threading.Event()
    app.state.threads = Threads(settings)
    app.state.bodies = Bodies(settings)
    app.state.downloads = Downloads()
    app.state.contents = Downloads("large documents", DOCUMENTS)
    app.state.streams = Streams(app.state.ending, app.state.threads)
    app.state.searching = Searching(runtime)
    problems.install(app)
    routers = [import_module(f"semantik_pipeline.api.routes.{name}").router for name in RESOURCES]
    for router in routers:
        app.include_router(router, prefix=PREFIX)
    openapi.install(app, PREFIX, routers)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.ending.set()
    with move_on_after(CLOSING):  # an unavailable broker must not delay the shutdown
        await app.state.threads.run("quick", app.state.searching.close)


def _middleware(origins: list[str]) -> list[Middleware]:
    """The middleware, outermost first. CORS is off unless origins are set."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=["ETag", "Location", "Retry-After", "X-Request-Id"],
    )
    return [Middleware(Frame), *([cors] if origins else [])]
