"""One run of a crawl: a page at a time, each said to the host as a document, a removal, or not at all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from semantik_pipeline.builtin.connectors.web_bodies import UnreadableAnswer
from semantik_pipeline.builtin.connectors.web_client import MOVED, WAIT, Answer, NotNow, Unreachable, WebClient
from semantik_pipeline.builtin.connectors.web_frontier import MAX_HOPS, Entry, Found, Frontier
from semantik_pipeline.builtin.connectors.web_held import Held
from semantik_pipeline.builtin.connectors.web_pages import HTML, BadSitemap, Page, read_page, read_sitemap
from semantik_pipeline.builtin.connectors.web_robots import Robots
from semantik_pipeline.builtin.connectors.web_rules import Rules, same_page
from semantik_pipeline.documents import Checkpoint, DocumentReference, IngestedDocument, Removal, content_hash
from semantik_pipeline.errors import CredentialsRejected, TransientError

log = logging.getLogger(__name__)

Event = DocumentReference | Removal | Checkpoint

#: A checkpoint comes after so many seconds, pages, or bytes that wait to be fetched.
SAVE_SECONDS = 5.0
SAVE_PAGES = 100
SAVE_BYTES = 8 * 2**20

#: How often a server's "not now" ends the slice before the page counts as unreadable.
MAX_WAITS = 3

#: Failures in a row after which the server counts as away.
MANY_FAILURES = 4

#: Problems of a run that are kept for people.
MAX_PROBLEMS = 100


@dataclass(frozen=True, kw_only=True)
class CrawlOptions:
    max_depth: int
    obey_robots: bool
    wanted_type: Callable[[str], bool]


@dataclass(kw_only=True)
class Crawl:
    """``held`` gets the documents of pages that are read and new: the host asks for them soon."""

    frontier: Frontier
    client: WebClient
    rules: Rules
    robots: Robots
    options: CrawlOptions
    make_document: Callable[[Answer, Page], IngestedDocument]
    held: Held
    problems: list[str]
    _bytes: int = 0
    _pages: int = 0
    _saved_at: float = 0.0

    async def events(self) -> AsyncGenerator[Event, None]:
        """All that is left of the run. Raises TransientError to come back later: the checkpoints hold the place."""
        frontier = self.frontier
        self._saved_at = time.monotonic()
        rest = frontier.rests_until - time.time()
        if rest > 0:  # the slice before had ended by its own time, and nobody waited
            raise NotNow("The server has asked to be left alone for a while.", retry_after=rest)
        failures = 0
        failed: TransientError | None = None
        while True:
            step = self._next()
            if step is None:
                break
            try:
                for event in await step():
                    yield event
                failures, frontier.waits = 0, 0
            except (NotNow, Unreachable) as error:
                if isinstance(error, NotNow) and frontier.waits < MAX_WAITS:
                    frontier.waits += 1
                    frontier.rests_until = time.time() + (error.retry_after or 0.0)
                    yield await self._checkpoint()
                    raise
                failures, failed = failures + 1, error
                if failures >= MANY_FAILURES:
                    raise
                self._fail(str(error))
            except UnreadableAnswer as error:
                failures, frontier.waits = 0, 0
                self._fail(str(error))
            self._pages += 1
            self._advance()
            if self._should_save() and not failures:  # failures in a row are found out again, and counted, next time
                yield await self._checkpoint()
        if failed is not None and not frontier.answered:
            raise failed
        if frontier.capped:
            self._problem(f"The crawl stopped at {frontier.max_pages:,} URLs. Raise max_pages, or exclude some.")

    def _next(self) -> Callable[[], Any] | None:
        frontier = self.frontier
        if frontier.sitemap_at < len(frontier.sitemaps):
            return lambda: self._read_sitemap(frontier.sitemaps[frontier.sitemap_at])
        if frontier.remembered:
            frontier.sitemaps_are_read()
        if frontier.at < len(frontier.pages):
            return lambda: self._visit(frontier.pages[frontier.at])
        return None

    def _advance(self) -> None:
        if self.frontier.sitemap_at < len(self.frontier.sitemaps):
            self.frontier.sitemap_at += 1
        else:
            self.frontier.at += 1

    # -- sitemaps -----------------------------------------------------------------------------------------------------

    async def _read_sitemap(self, url: str) -> list[Event]:
        answer = await self._get_sitemap(url)
        if answer.status in WAIT:
            raise NotNow(f"{url} answered {answer.status}.", retry_after=answer.retry_after)
        self.frontier.answered += 1
        try:
            if answer.status != 200 or answer.cut:
                raise BadSitemap("it is too large" if answer.cut else f"the server answered {answer.status}")
            listed = await asyncio.to_thread(read_sitemap, answer.body)
        except BadSitemap as error:
            self._problem(f"The sitemap {url} was not read: {error}.", incomplete=True)
            return []
        for sitemap in filter(self.rules.in_scope, listed.sitemaps):
            self.frontier.add_sitemap(sitemap)
        for page in filter(self.rules.may_visit, listed.pages):
            self.frontier.add(page, listed=True)
        return []

    async def _get_sitemap(self, url: str) -> Answer:
        answer = await self.client.get(url)
        for _ in range(MAX_HOPS):
            if answer.target is None or not self.rules.in_scope(answer.target):
                break
            answer = await self.client.get(answer.target)
        return answer

    # -- pages --------------------------------------------------------------------------------------------------------

    async def _visit(self, entry: Entry) -> list[Event]:
        entry.found = Found.NOTHING
        allowed = self.rules.may_visit(entry.url)
        if not allowed or (self.options.obey_robots and not await self.robots.allows(entry.url, self.client)):
            if entry.depth == 0 and not entry.listed:
                why = "robots.txt forbids it" if allowed else "it is excluded"
                self._problem(f"{entry.url} is not read: {why}.")
            return []
        answer = await self.client.get(entry.url, entry.validators, wanted=self.options.wanted_type)
        if answer.status in WAIT:
            raise NotNow(f"{entry.url} answered {answer.status}.", retry_after=answer.retry_after)
        if answer.status >= 500:
            raise Unreachable(f"{entry.url} answered {answer.status}.")
        self.frontier.answered += 1
        if answer.status == 304:
            return self._unchanged(entry)
        if answer.status == 200:
            return await self._read(entry, answer)
        return self._refused(entry, answer)

    def _unchanged(self, entry: Entry) -> list[Event]:
        entry.found = Found.PAGE
        return [DocumentReference(entry.url, entry.hint)] if entry.hint else []

    async def _read(self, entry: Entry, answer: Answer) -> list[Event]:
        if not self.options.wanted_type(answer.media_type):
            return []
        page = await self._page(entry, answer)
        before = entry.hint
        entry.found = Found.PAGE
        entry.etag, entry.modified = answer.headers.get("etag", ""), answer.headers.get("last-modified", "")
        entry.hint = ""
        original = page.canonical if page.canonical and self._stands_for(page.canonical, entry.url) else None
        if not entry.listed and entry.depth < self.options.max_depth:
            for link in filter(self.rules.may_visit, page.links):
                self.frontier.add(link, depth=entry.depth + 1)
        if original:
            self.frontier.add(original, depth=entry.depth, listed=entry.listed)
        if original or not page.index or not self.rules.is_document(entry.url):
            return []
        entry.hint = _hint(answer)
        if entry.hint != before and not answer.cut:
            self._hold(answer, page)
        return [DocumentReference(entry.url, entry.hint)]

    async def _page(self, entry: Entry, answer: Answer) -> Page:
        told = answer.headers.get("x-robots-tag", "")
        if answer.media_type in HTML:
            try:
                return await asyncio.to_thread(
                    read_page, answer.body, entry.url, charset=answer.charset, robots_header=told
                )
            except Exception as error:  # what a page does to its reader costs that page alone
                log.exception("web: %s", entry.url)
                raise UnreadableAnswer(f"{entry.url} could not be read ({error!r}).") from error
        return Page(index="noindex" not in told.lower())

    def _stands_for(self, original: str, url: str) -> bool:
        """Whether a page's word that it is a copy of another is believed: for one page in several writings only, for
        many sites call their home page the original of everything."""
        return original != url and same_page(original, url) and self.rules.may_visit(original)

    def _refused(self, entry: Entry, answer: Answer) -> list[Event]:
        if answer.status in (404, 410):
            if entry.depth == 0 and not entry.listed and not entry.hops:
                self._problem(f"{entry.url} answered {answer.status}.")
            return [Removal(entry.url)]
        if answer.status in MOVED:
            self._redirect(entry, answer)
            return []
        start = entry.depth == 0 and not entry.listed
        if answer.status == 401 and (self.client.manners.authorization or start):
            raise CredentialsRejected(
                f"{entry.url} refused the credentials (401).", "Check the source's password_env or token_env."
            )
        entry.found = Found.FAILED
        self._problem(
            f"{entry.url} answered {answer.status}. Exclude it if it is not to be read: until then nothing that is"
            " missing from the crawl is removed.",
            incomplete=True,
        )
        return []

    def _redirect(self, entry: Entry, answer: Answer) -> None:
        target = answer.target
        if target and self.rules.may_visit(target):
            if entry.hops < MAX_HOPS:
                self.frontier.add(target, depth=entry.depth, listed=entry.listed, hops=entry.hops + 1)
            else:
                self._problem(f"{entry.url} is redirected more than {MAX_HOPS} times.")
        elif entry.depth == 0 and not entry.listed:
            self._problem(
                f"{entry.url} leads to {answer.headers.get('location')}, which is out of scope. Add that to start_urls if it belongs"
                " to this source.",
                incomplete=True,
            )

    # -- what is kept meanwhile ---------------------------------------------------------------------------------------

    def _fail(self, problem: str) -> None:
        if self.frontier.sitemap_at >= len(self.frontier.sitemaps):
            self.frontier.pages[self.frontier.at].found = Found.FAILED
        self._problem(problem, incomplete=True)

    def _problem(self, problem: str, *, incomplete: bool = False) -> None:
        log.warning("web: %s", problem)
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
        self.frontier.full = self.frontier.full and not incomplete

    def _hold(self, answer: Answer, page: Page) -> None:
        self.held.put(self.make_document(answer, page))
        self._bytes += len(answer.body)

    def _should_save(self) -> bool:
        late = time.monotonic() - self._saved_at > SAVE_SECONDS
        return late or self._pages >= SAVE_PAGES or self._bytes > SAVE_BYTES

    async def _checkpoint(self) -> Checkpoint:
        self._bytes, self._pages, self._saved_at = 0, 0, time.monotonic()
        return Checkpoint({"run": await asyncio.to_thread(self.frontier.cursor)})


def _hint(answer: Answer) -> str:
    if answer.cut:  # too large to read: it is looked at again when the server says that it is another
        told = (answer.headers.get(name, "") for name in ("etag", "last-modified", "content-length"))
        return "large:" + content_hash(" ".join(told))[:16]
    return content_hash(answer.body)[:16]
