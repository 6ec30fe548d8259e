"""Requests a page and interprets the response, in the same way for the crawl and for fetching a single document."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from semantik_pipeline.builtin.connectors.web_bodies import UnreadableAnswer
from semantik_pipeline.builtin.connectors.web_client import MOVED, WAIT, Answer, WebClient
from semantik_pipeline.builtin.connectors.web_frontier import LARGE, NOINDEX, Entry, Found
from semantik_pipeline.builtin.connectors.web_pages import HTML, Page, read_page
from semantik_pipeline.builtin.connectors.web_robots import Robots, may_index, words_for
from semantik_pipeline.builtin.connectors.web_rules import Rules, same_page
from semantik_pipeline.documents import content_hash

log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What is at a URL."""

    DOCUMENT = "document"
    COPY = "copy"  # it names another page as its original
    HIDDEN = "hidden"  # it asks not to be indexed: it is named, to be listed as skipped, and its links are followed
    LINKS = "links"  # not included, read only for its links
    UNCHANGED = "unchanged"
    OTHER_TYPE = "other type"
    MOVED = "moved"
    GONE = "gone"
    FORBIDDEN = "forbidden"  # by the source's scope and patterns, or by robots.txt; no request was made
    REFUSED = "refused"
    NOT_NOW = "not now"
    FAILING = "failing"


_FOUND = {
    **dict.fromkeys((Kind.DOCUMENT, Kind.COPY, Kind.HIDDEN, Kind.LINKS, Kind.UNCHANGED), Found.PAGE),
    **dict.fromkeys((Kind.REFUSED, Kind.NOT_NOW, Kind.FAILING), Found.FAILED),
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was found at a URL, and a sentence about it. ``answer`` is None if no request was made.

    ``leads_to`` is the original that a page names, or the target of a redirect, if this source may visit it.
    """

    kind: Kind
    why: str
    answer: Answer | None = None
    page: Page = field(default_factory=Page)
    leads_to: str = ""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads pages according to the rules of one source."""

    client: WebClient
    rules: Rules
    robots: Robots
    obey_robots: bool
    wanted_type: Callable[[str], bool]

    async def read(self, url: str, validators: dict[str, str] | None = None) -> Reading:
        """Request this URL and interpret the response. ``validators`` are the headers of a conditional request.

        Raises what :meth:`WebClient.get` raises, for the page or for its robots.txt.
        """
        if not self.rules.may_visit(url):
            return Reading(kind=Kind.FORBIDDEN, why=f"{url} is not read: it is excluded, or out of scope.")
        if self.obey_robots and not await self.robots.allows(url, self.client):
            return Reading(kind=Kind.FORBIDDEN, why=f"{url} is not read: robots.txt forbids it.")
        answer = await self.client.get(url, validators, wanted=self.wanted_type)
        kind = _kind_of(answer.status)
        if kind is Kind.DOCUMENT:
            return await self._page(answer)
        target = answer.target if answer.target and self.rules.may_visit(answer.target) else ""
        return Reading(kind=kind, why=f"{url} answered {answer.status}.", answer=answer, leads_to=target)

    async def _page(self, answer: Answer) -> Reading:
        if not self.wanted_type(answer.media_type):
            why = f"{answer.url} has {answer.media_type or 'no media type'}; media_types does not include it."
            return Reading(kind=Kind.OTHER_TYPE, why=why, answer=answer)
        page = await self._parsed(answer)
        original = self._original(page, answer.url)
        kind, why = Kind.DOCUMENT, ""
        if not self.rules.is_document(answer.url):
            kind, why = Kind.LINKS, f"{answer.url} is not among the pages that this source includes."
        elif not page.index:
            kind, why = Kind.HIDDEN, f"{answer.url} asks not to be indexed (noindex)."
        elif original:
            kind, why = Kind.COPY, f"{answer.url} is a copy of {original}."
        return Reading(kind=kind, why=why, answer=answer, page=page, leads_to=original)

    async def _parsed(self, answer: Answer) -> Page:
        bot = self.client.manners.user_agent if self.obey_robots else None
        asked = words_for(bot, answer.headers.get_list("x-robots-tag")) if bot else set()
        if answer.media_type not in HTML:
            return Page(index=may_index(asked))
        try:
            return await asyncio.to_thread(
                read_page, answer.body, answer.url, charset=answer.charset, asked=asked, bot=bot
            )
        except Exception as error:  # a page that breaks the parser must only affect itself
            log.exception("web: %s", answer.url)
            raise UnreadableAnswer(f"{answer.url} could not be read ({error!r}).") from error

    def _original(self, page: Page, url: str) -> str:
        """The original that a page names, if it is trusted: it must be the same page with another query, because many
        sites name their home page as the original of everything. The scheme is ignored, because many pages on https
        still name themselves with http."""
        if not page.canonical or not same_page(page.canonical, url):
            return ""
        original = urlsplit(page.canonical)._replace(scheme=urlsplit(url).scheme)
        named = original.geturl()
        return named if original.query != urlsplit(url).query and self.rules.may_visit(named) else ""


def note(entry: Entry, reading: Reading) -> None:
    """Record a reading in the entry of its URL. If the page failed, what was known about it is kept."""
    entry.found = _FOUND.get(reading.kind, Found.NOTHING)
    if reading.kind is Kind.UNCHANGED or entry.found == Found.FAILED:
        return
    headers = reading.answer.headers if reading.answer else {}
    entry.etag, entry.modified = headers.get("etag", ""), headers.get("last-modified", "")
    entry.hint = _hint(reading)
    entry.original = reading.leads_to if reading.kind in (Kind.COPY, Kind.MOVED) else ""


def _kind_of(status: int) -> Kind:
    if status in WAIT:
        return Kind.NOT_NOW
    if status in MOVED:
        return Kind.MOVED
    known = {200: Kind.DOCUMENT, 304: Kind.UNCHANGED, 404: Kind.GONE, 410: Kind.GONE}
    return known.get(status, Kind.FAILING if status >= 500 else Kind.REFUSED)


def _hint(reading: Reading) -> str:
    answer = reading.answer
    if answer is None or reading.kind not in (Kind.DOCUMENT, Kind.COPY, Kind.HIDDEN):
        return ""
    if answer.cut:  # the hint changes when the server reports another page, or the limit changes
        told = (answer.headers.get(name, "") for name in ("etag", "last-modified", "content-length"))
        hint = f"{LARGE}{answer.cut}:{content_hash(' '.join(told))[:16]}"
    else:
        hint = content_hash(answer.body)[:16]
    return NOINDEX + hint if reading.kind is Kind.HIDDEN else hint
