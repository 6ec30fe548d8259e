"""The connector ``web``: the pages of a site, found by crawling or listed by sitemaps."""

from __future__ import annotations

import asyncio
import base64
import importlib
import importlib.util
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from semantik_pipeline.builtin.connectors.web_held import PATIENCE, Held
from semantik_pipeline.builtin.connectors.web_options import MEDIA_TYPES, SCHEMA
from semantik_pipeline.builtin.connectors.web_rules import Rules, given, origin_of, rules_of
from semantik_pipeline.builtin.media_types import UNKNOWN, media_type
from semantik_pipeline.contracts import ConnectorPlugin, HealthState, HealthStatus
from semantik_pipeline.documents import (
    Checkpoint,
    Complete,
    DocumentReference,
    IngestedDocument,
    Removal,
    content_hash,
)
from semantik_pipeline.errors import PluginConfigError

if TYPE_CHECKING:
    from semantik_pipeline.builtin.connectors.web_client import Answer, WebClient
    from semantik_pipeline.builtin.connectors.web_frontier import Frontier
    from semantik_pipeline.builtin.connectors.web_pages import Page
    from semantik_pipeline.builtin.connectors.web_reading import Reader


class WebConnector(ConnectorPlugin):
    """Names pages by their URL in normal form.

    Every run requests each known page again, with the ETag and the date that the server sent last time, so that an
    unchanged page is answered with "304 Not Modified" and causes no further work. The change hint is the hash of the
    body, so a server without ETags only costs bandwidth.

    ``problems`` lists what the last run could not read. A run with an unreadable page removes nothing.
    """

    PLUGIN_ID = "web"
    PLUGIN_VERSION = "1.1.0"
    OUTPUT_VERSION = "2"  # cursors of version 1 remember copies of pages as if nothing had been there
    METADATA = {
        "name": "Web site",
        "description": "The pages of a site, by a bounded crawl or from sitemaps; keeps to robots.txt.",
    }

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self.problems: list[str] = []
        self._held = Held()
        self._shared: tuple[Any, Any] | None = None

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return SCHEMA

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        if not config or not (config.get("start_urls") or config.get("sitemaps")):
            return HealthStatus(HealthState.UNKNOWN, "it needs start_urls or sitemaps, which each source sets")
        try:
            cls(config).validate_config()
        except PluginConfigError as error:
            return HealthStatus(HealthState.UNHEALTHY, str(error))
        return HealthStatus(HealthState.HEALTHY)

    def validate_config(self) -> None:
        missing = [name for name in ("lxml", "protego", "url_normalize") if importlib.util.find_spec(name) is None]
        if missing:
            raise PluginConfigError(
                f"The connector web needs {', '.join(missing)}.", "Install it: pip install 'semantik-pipeline[web]'."
            )
        if not (self.config.get("start_urls") or self.config.get("sitemaps")):
            raise PluginConfigError(
                "The connector web needs start_urls or sitemaps.", "Give the URL of a page or of a sitemap."
            )
        if self.config.get("password") and not self.config.get("username"):
            raise PluginConfigError("The connector web has a password but no username.", "Set username too.")
        _ = self._start_urls, self._sitemaps

    # -- a run --------------------------------------------------------------------------------------------------------

    async def enumerate(self, cursor: Any = None) -> AsyncIterator[DocumentReference | Removal | Checkpoint | Complete]:
        self.validate_config()
        await asyncio.to_thread(
            importlib.import_module, "semantik_pipeline.builtin.connectors.web_crawl"
        )  # importing httpx takes 0.2 s
        from semantik_pipeline.builtin.connectors.web_crawl import Crawl

        # This enumeration needs its own list, because the instance is shared and another enumeration may start
        # meanwhile.
        self.problems = problems = list[str]()
        frontier = await asyncio.to_thread(self._frontier, cursor)  # unpacking a hundred thousand URLs takes a moment
        pace, robots = self._manners_kept()
        async with self._client(pace) as client:
            crawl = Crawl(
                frontier=frontier,
                reader=self._reader(client, robots),
                max_depth=self._option("max_depth"),
                make_document=self._document,
                held=self._held,
                problems=problems,
            )
            try:
                async with aclosing(crawl.events()) as events:
                    async for event in events:
                        yield event
                yield Complete(full=frontier.full, cursor={"last": await asyncio.to_thread(frontier.cursor)})
            finally:
                asyncio.get_running_loop().call_later(PATIENCE, self._held.forget)

    def _frontier(self, cursor: Any) -> Frontier:
        """The frontier of the interrupted run in the cursor, or that of a new run."""
        from semantik_pipeline.builtin.connectors.web_frontier import Frontier

        told = cursor if isinstance(cursor, dict) else {}
        max_pages = self._option("max_pages")
        if "run" in told:
            return Frontier.from_cursor(told["run"], max_pages)
        last = Frontier.from_cursor(told["last"], max_pages) if "last" in told else None
        now = time.time()
        if last is not None and now - last.began > 86_400 * self._option("recrawl_days"):
            last = None
        return Frontier.begin(
            start_urls=self._start_urls, sitemaps=self._sitemaps, max_pages=max_pages, now=now, last=last
        )

    async def fetch(self, reference: DocumentReference) -> IngestedDocument:
        held = self._held.take(reference.unique_id)
        if held is not None:
            return held
        return await self._fetch(reference.unique_id)

    async def _fetch(self, url: str) -> IngestedDocument:
        from semantik_pipeline.builtin.connectors.web_fetching import fetched_page

        pace, robots = self._manners_kept()
        async with self._client(pace) as client:
            reading, answer = await fetched_page(self._reader(client, robots), url, self._start_urls)
        return self._document(answer, reading.page)

    def _document(self, answer: Answer, page: Page) -> IngestedDocument:
        from semantik_pipeline.builtin.connectors.web_pages import as_utf8

        name = unquote(urlsplit(answer.url).path.rpartition("/")[2])
        kind = answer.media_type
        if kind in ("", UNKNOWN, "text/plain"):  # servers send these for files of a type that they do not know
            kind = media_type(answer.body, name)
        body = as_utf8(answer.body, answer.charset) if kind.startswith("text/") else answer.body
        about = {"url": answer.url, "title": page.title, "modified": _iso(answer.headers.get("last-modified"))}
        return IngestedDocument(
            content=body,
            unique_id=answer.url,
            source_type=self.PLUGIN_ID,
            metadata={key: value for key, value in about.items() if value},
            content_hash=content_hash(body),
            file_path=name or None,
            media_type=kind,
        )

    # -- the configuration --------------------------------------------------------------------------------------------

    @property
    def _start_urls(self) -> list[str]:
        return [given(url) for url in self.config.get("start_urls") or []]

    @property
    def _sitemaps(self) -> list[str]:
        return [given(url) for url in self.config.get("sitemaps") or []]

    @property
    def _authorization(self) -> str | None:
        if token := self.config.get("token"):
            return f"Bearer {token}"
        if password := self.config.get("password"):
            pair = f"{self.config['username']}:{password}".encode()
            return f"Basic {base64.b64encode(pair).decode('ascii')}"
        return None

    def _option(self, name: str) -> Any:
        value = self.config.get(name)
        return SCHEMA["properties"][name]["default"] if value is None else value

    def _rules(self) -> Rules:
        include, exclude = self.config.get("include") or [], self.config.get("exclude") or []
        return rules_of(self._start_urls, self._sitemaps, include, exclude)

    def _wanted_type(self, media_type: str) -> bool:
        return any(fnmatchcase(media_type, pattern.lower()) for pattern in self._option("media_types") or MEDIA_TYPES)

    def _manners_kept(self) -> tuple[Any, Any]:
        """The pace and the robots.txt files, which all requests of this source share."""
        from semantik_pipeline.builtin.connectors.web_client import Pace
        from semantik_pipeline.builtin.connectors.web_robots import Robots

        if self._shared is None:
            self._shared = Pace(self._option("requests_per_second")), Robots(self._option("user_agent"))
        return self._shared

    def _reader(self, client: WebClient, robots: Any) -> Reader:
        from semantik_pipeline.builtin.connectors.web_reading import Reader

        return Reader(
            client=client,
            rules=self._rules(),
            robots=robots,
            obey_robots=self._option("obey_robots"),
            wanted_type=self._wanted_type,
        )

    def _client(self, pace: Any) -> WebClient:
        """A client on the running loop. It sends credentials only to the origins of the configured URLs, and to the
        same hosts over https."""
        from semantik_pipeline.builtin.connectors import web_addresses
        from semantik_pipeline.builtin.connectors.web_client import Manners, WebClient

        origins = {origin_of(url) for url in [*self._start_urls, *self._sitemaps]}
        secure = {origin.replace("http://", "https://", 1) for origin in origins}
        manners = Manners(
            user_agent=self._option("user_agent"),
            timeout=self._option("timeout"),
            max_bytes=self._option("max_bytes"),
            allow_private=self._option("allow_private"),
            authorization=self._authorization,
            origins=frozenset(origins | secure),
        )
        return WebClient(manners, pace, web_addresses.resolve)


def _iso(date: str | None) -> str | None:
    """An HTTP date in ISO 8601 and UTC; None if it is not a valid date."""
    try:
        return parsedate_to_datetime(date).astimezone(UTC).isoformat(timespec="seconds") if date else None
    except (ValueError, OverflowError):  # OverflowError: a year with many digits
        return None
