"""The two clients: they have the same requests, sent synchronously or awaited."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx
from httpx import Response, TransportError

from semantik_pipeline.client.calls import Call, following
from semantik_pipeline.client.events import SILENCE, Stream
from semantik_pipeline.client.failures import failure_of, unreachable
from semantik_pipeline.client.resources import Api
from semantik_pipeline.client.retries import Retries
from semantik_pipeline.client.saving import saving
from semantik_pipeline.errors import UsageError

T = TypeVar("T")

#: The prefix of all paths.
PREFIX = "/api/v2"

#: Seconds to connect, and to wait for a response (which may include storing an upload or checking a plugin's health).
CONNECT, ANSWER = 5.0, 60.0


class Client(Api["Client"]):
    """A synchronous client for Semantik's API. ``key`` is an API key. Close the client, or use it in a ``with`` block.

    Raises the errors of ``semantik_pipeline.errors`` that occurred on the server, and ServiceUnavailable if no server
    responds.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = ANSWER,
        retries: Retries = Retries(),  # noqa: B008 - a frozen value
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.retries = retries
        self._http = httpx.Client(**_options(self.url, key, timeout), transport=transport)
        super().__init__(self)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Send a request, retry it if that is safe, and return the parsed response."""
        attempt = 0
        while True:
            attempt += 1
            with ExitStack() as files:
                came = self._ask(call, files)
            wait = self.retries.pause(call, attempt, came)
            if wait is None:
                return cast(T, _read(call, came, self.url))
            time.sleep(wait)

    def _ask(self, call: Call[Any], files: ExitStack) -> Response | TransportError:
        asked = _request(call, files)
        try:
            if call.into is None:
                return self._http.request(**asked)
            with self._http.stream(**asked) as response:
                if not response.is_success:
                    response.read()
                    return response
                with saving(call.into) as file:
                    for piece in response.iter_bytes():
                        file.write(piece)
                return response
        except TransportError as error:
            return error

    def pages(self, call: Call[Any], key: str) -> Iterator[Any]:
        """The entries of all pages."""
        asked: Call[Any] | None = call
        while asked is not None:
            page = self.send(asked)
            yield from page[key]
            asked = following(asked, page)

    def events(self, call: Call[Any]) -> Iterator[dict[str, Any]]:
        """Yield the data of each event until the last one. A lost connection is reopened."""
        stream = Stream(call=call, retries=self.retries, url=self.url)
        while not stream.over:
            try:
                with ExitStack() as files, self._http.stream(**_request(stream.request(), files), **_QUIET) as response:
                    if response.status_code not in (200, 204):
                        response.read()
                    stream.opened(response)
                    for line in response.iter_lines() if response.status_code == 200 else ():
                        if (data := stream.line(line)) is not None:
                            yield data
            except TransportError as error:
                stream.broke(error)
            if not stream.over:
                time.sleep(stream.pause)


class AsyncClient(Api["AsyncClient"]):
    """Like :class:`Client`, but requests are awaited, and lists and streams are read with ``async for``."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = ANSWER,
        retries: Retries = Retries(),  # noqa: B008 - a frozen value
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.retries = retries
        self._http = httpx.AsyncClient(**_options(self.url, key, timeout), transport=transport)
        super().__init__(self)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Like :meth:`Client.send`."""
        from anyio import sleep

        attempt = 0
        while True:
            attempt += 1
            with ExitStack() as files:
                came = await self._ask(call, files)
            wait = self.retries.pause(call, attempt, came)
            if wait is None:
                return cast(T, _read(call, came, self.url))
            await sleep(wait)

    async def _ask(self, call: Call[Any], files: ExitStack) -> Response | TransportError:
        asked = _request(call, files)
        try:
            if call.into is None:
                return await self._http.request(**asked)
            async with self._http.stream(**asked) as response:
                if not response.is_success:
                    await response.aread()
                    return response
                with saving(call.into) as file:
                    async for piece in response.aiter_bytes():
                        file.write(piece)
                return response
        except TransportError as error:
            return error

    async def pages(self, call: Call[Any], key: str) -> AsyncIterator[Any]:
        """Like :meth:`Client.pages`."""
        asked: Call[Any] | None = call
        while asked is not None:
            page = await self.send(asked)
            for entry in page[key]:
                yield entry
            asked = following(asked, page)

    async def events(self, call: Call[Any]) -> AsyncIterator[dict[str, Any]]:
        """Like :meth:`Client.events`."""
        from anyio import sleep

        stream = Stream(call=call, retries=self.retries, url=self.url)
        while not stream.over:
            try:
                asked = _request(stream.request(), ExitStack())
                async with self._http.stream(**asked, **_QUIET) as response:
                    if response.status_code not in (200, 204):
                        await response.aread()
                    stream.opened(response)
                    if response.status_code == 200:
                        async for line in response.aiter_lines():
                            if (data := stream.line(line)) is not None:
                                yield data
            except TransportError as error:
                stream.broke(error)
            if not stream.over:
                await sleep(stream.pause)


#: Options of requests for streams.
_QUIET: dict[str, Any] = {"timeout": httpx.Timeout(SILENCE, connect=CONNECT)}


def _options(url: str, key: str | None, timeout: float) -> dict[str, Any]:
    """The arguments for both of httpx's clients. Raises UsageError if ``url`` is not a URL.

    A server on this machine is not contacted through a proxy. With TLS, ``SSL_CERT_FILE`` counts there, too. Without
    TLS, no certificates are read, because that would take longer than a search.
    """
    host = _host(url)
    return {
        "base_url": f"{url}{PREFIX}",
        "headers": {"Authorization": f"Bearer {key}"} if key else {},
        "timeout": httpx.Timeout(timeout, connect=CONNECT),
        "verify": url.startswith("https:") and httpx.create_ssl_context(),
        "trust_env": host not in ("127.0.0.1", "::1", "localhost"),
    }


def _host(url: str) -> str:
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL:
        found = httpx.URL("")
    if found.scheme not in ("http", "https") or not found.host:
        raise UsageError(f"{url!r} is not a URL; write http://HOST:PORT.")
    return found.host


def _request(call: Call[Any], files: ExitStack) -> dict[str, Any]:
    """The arguments of httpx for a call. The files that it uploads stay open until ``files`` is closed."""
    asked: dict[str, Any] = {
        "method": call.method,
        "url": call.url,
        "params": {name: _query(value) for name, value in call.query.items() if value is not None},
        "headers": _headers(call.headers),
    }
    if call.timeout is not None:
        asked["timeout"] = httpx.Timeout(call.timeout, connect=CONNECT)
    if call.files:
        asked["data"] = dict(call.form or {})
        asked["files"] = [
            (
                "files",
                (
                    one.name,
                    files.enter_context(one.content.open("rb")) if isinstance(one.content, Path) else one.content,
                    one.media_type,
                ),
            )
            for one in call.files
        ]
    elif call.json is not None:
        asked["content"] = json.dumps(call.json, ensure_ascii=True).encode()
        asked["headers"]["Content-Type"] = "application/json"
    return asked


def _headers(headers: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if value is not None}


def _query(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _read(call: Call[Any], came: Response | TransportError, url: str) -> Any:
    """The parsed body of the response. Raises the error that an unsuccessful response stands for."""
    if isinstance(came, TransportError):
        raise unreachable(url, came) from came
    if not came.is_success and came.status_code not in call.good:
        raise failure_of(came)
    if call.into is not None:
        return call.into
    if call.read == "bytes":
        return came.content
    return came.text if call.read == "text" else came.json()
