"""An HTTP client for a crawl: it requests one page at a time, at a limited pace, with limits for time and size, and
without following redirects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from types import TracebackType

import httpx

from semantik_pipeline.builtin.connectors.web_addresses import CheckedTransport, Resolve
from semantik_pipeline.builtin.connectors.web_bodies import ENCODING, read_body
from semantik_pipeline.builtin.connectors.web_rules import canonical, host_of, origin_of
from semantik_pipeline.errors import ServiceUnavailable, TransientError, seconds_of

#: Statuses with which a server asks to come back later.
WAIT = (429, 503)

#: Statuses of redirects.
MOVED = (301, 302, 303, 307, 308)

#: Maximum seconds that a server's Retry-After is respected.
MAX_RETRY_AFTER = 3_600.0


class Unreachable(ServiceUnavailable):
    """There was no response: no connection, a broken connection, or a timeout."""


class NotNow(TransientError):
    """The server asks to come back later (429, 503)."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A server's response to one request; redirects are not followed. ``cut`` is the limit in bytes that the body
    exceeds; 0 if the body is complete."""

    url: str
    status: int
    headers: httpx.Headers
    body: bytes = b""
    cut: int = 0

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """The charset of the Content-Type header."""
        from email.message import Message

        about = Message()
        about["content-type"] = self.headers.get("content-type", "")
        charset = about.get_param("charset")
        return charset if isinstance(charset, str) and charset else None

    @property
    def target(self) -> str | None:
        """The target of a redirect in normal form; None if this is not a redirect, or its target is not a web page."""
        location = self.headers.get("location")
        return canonical(location, self.url) if location and self.status in MOVED else None

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, from either form of Retry-After in RFC 9110."""
        seconds = seconds_of(self.headers.get("retry-after"))
        return None if seconds is None else min(seconds, MAX_RETRY_AFTER)


@dataclass
class Pace:
    """The minimum time between two requests to one host: ``1 / per_second``, or the Crawl-delay of its robots.txt if
    that is longer.

    The wait happens within a slice, because a connector can only end a slice early with an error. Therefore a slow site
    occupies one thread of the stage sync while it is crawled.
    """

    per_second: float
    slower: dict[str, float] = field(default_factory=dict)
    _next: dict[str, float] = field(default_factory=dict)

    async def turn(self, host: str) -> None:
        """Wait until the next request to this host is allowed."""
        now = time.monotonic()
        start = max(now, self._next.get(host, now))
        self._next[host] = start + max(1 / self.per_second, self.slower.get(host, 0.0))
        await asyncio.sleep(start - now)


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How requests are made: the user agent, the credentials and the origins that get them, and the limits."""

    user_agent: str
    timeout: float
    max_bytes: int
    allow_private: bool
    authorization: str | None = None
    origins: Collection[str] = ()


class WebClient:
    """An HTTP client for one event loop. Use it as an async context manager."""

    def __init__(self, manners: Manners, pace: Pace, resolve: Resolve) -> None:
        self.manners = manners
        self.pace = pace
        self._client = httpx.AsyncClient(
            transport=CheckedTransport(allow_private=manners.allow_private, resolve=resolve),
            timeout=manners.timeout,
            headers={"User-Agent": manners.user_agent, "Accept": "*/*", "Accept-Encoding": ENCODING},
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> WebClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def get(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        *,
        max_bytes: int | None = None,
        wanted: Callable[[str], bool] = lambda media_type: True,
    ) -> Answer:
        """The response to one GET. The body is read up to ``max_bytes``, if the status is 200 and the media type is
        wanted.

        Raises Unreachable, UnknownHost, AddressRefused and UnreadableAnswer. Cookies are not kept.
        """
        await self.pace.turn(host_of(url))
        self._client.cookies.clear()
        try:
            async with (
                asyncio.timeout(self.manners.timeout),
                self._client.stream("GET", url, headers=self._headers(url, headers)) as response,
            ):
                answer = Answer(url=url, status=response.status_code, headers=response.headers)
                if response.status_code != 200 or not wanted(answer.media_type):
                    return answer
                limit = max_bytes or self.manners.max_bytes
                body, cut = await read_body(response, url, limit)
                return Answer(url=url, status=200, headers=response.headers, body=body, cut=limit if cut else 0)
        except TimeoutError as error:
            raise Unreachable(f"{url} took longer than {self.manners.timeout:g} s.", "Raise timeout.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(f"{url}: {type(error).__name__} {error}".strip()) from error

    def _headers(self, url: str, headers: dict[str, str] | None) -> dict[str, str]:
        asked = dict(headers or {})
        if self.manners.authorization and origin_of(url) in self.manners.origins:
            asked["Authorization"] = self.manners.authorization
        return asked
