"""One run of a crawl. It reads one page at a time and reports each to the host as a document, as a removal, or not at
all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from semantik_pipeline.builtin.connectors.web_bodies import UnreadableAnswer
from semantik_pipeline.builtin.connectors.web_client import WAIT, Answer, NotNow, Unreachable
from semantik_pipeline.builtin.connectors.web_copies import is_indexed
from semantik_pipeline.builtin.connectors.web_frontier import MAX_HOPS, Entry, Found, Frontier
from semantik_pipeline.builtin.connectors.web_held import Held
from semantik_pipeline.builtin.connectors.web_hosts import NO_ANSWER, Hosts
from semantik_pipeline.builtin.connectors.web_pages import BadSitemap, Page, read_sitemap
from semantik_pipeline.builtin.connectors.web_reading import Kind, Reader, Reading, note
from semantik_pipeline.builtin.connectors.web_rules import host_of, origin_of
from semantik_pipeline.documents import Checkpoint, DocumentReference, IngestedDocument, Removal
from semantik_pipeline.errors import CredentialsRejected

log = logging.getLogger(__name__)

Event = DocumentReference | Removal | Checkpoint

#: A checkpoint is made after this many seconds, pages, or bytes that wait to be fetched.
SAVE_SECONDS = 5.0
SAVE_PAGES = 100
SAVE_BYTES = 8 * 2**20

#: How many times a server's request to wait ends the slice before the page counts as unreadable.
MAX_WAITS = 3

#: Maximum number of problems that are kept for a run.
MAX_PROBLEMS = 100


@dataclass(kw_only=True)
class Crawl:
    """A run of a crawl. ``held`` receives the documents of new and changed pages, because the host will request them
    soon."""

    frontier: Frontier
    reader: Reader
    max_depth: int
    make_document: Callable[[Answer, Page], IngestedDocument]
    held: Held
    problems: list[str]
    _bytes: int = 0
    _pages: int = 0
    _saved_at: float = 0.0

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the events of the rest of the run. Raises TransientError to continue later from the last checkpoint."""
        frontier = self.frontier
        self._saved_at = time.monotonic()
        rest = frontier.rests_until - time.time()
        if rest > 0:  # the previous slice ended because its time was over, so the wait is not finished
            raise NotNow("The server has asked for a pause.", retry_after=rest)
        hosts = Hosts(client=self.reader.client, frontier=frontier)
        failed: Exception | None = None
        while (step := self._next()) is not None:
            url, work = step
            found: list[Event] = []
            try:
                if hosts.is_away(url):
                    self._mark_failed()
                else:
                    found = await work()
                    hosts.answered(url)
                    frontier.waits = 0
            except NO_ANSWER as error:
                if isinstance(error, NotNow) and frontier.waits < MAX_WAITS:
                    frontier.waits += 1
                    frontier.rests_until = time.time() + (error.retry_after or 0.0)
                    yield await self._checkpoint()
                    raise
                failed = error
                is_away = await hosts.failed(url, error)
                self._fail(str(error))
                if is_away:
                    self._problem(f"{host_of(url)} does not answer, so no more of it was read.", incomplete=True)
            except UnreadableAnswer as error:
                hosts.answered(url)
                frontier.waits = 0
                self._fail(str(error))
            for event in found:
                yield event
            self._pages += 1
            self._advance()
            if self._should_save() and not hosts.is_failing(url):  # failures in a row must be counted again next time
                yield await self._checkpoint()
        if failed is not None and not frontier.answered:
            raise failed
        for event in self._told_at_the_end():
            yield event

    def _next(self) -> tuple[str, Callable[[], Awaitable[list[Event]]]] | None:
        """The next URL, and the function that reads it. None if nothing is left."""
        frontier = self.frontier
        if frontier.sitemap_at < len(frontier.sitemaps):
            sitemap = frontier.sitemaps[frontier.sitemap_at]
            return sitemap, lambda: self._read_sitemap(sitemap)
        if frontier.remembered:
            frontier.sitemaps_are_read()
        if frontier.at < len(frontier.pages):
            entry = frontier.pages[frontier.at]
            return entry.url, lambda: self._visit(entry)
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
        everything = [*listed.sitemaps, *listed.pages]
        elsewhere = [one for one in everything if not self.reader.rules.in_scope(one)]
        if elsewhere:
            self._problem(
                f"The sitemap {url} lists {len(elsewhere):,} URLs that are out of scope and not read, such as"
                f" {elsewhere[0]}. If they belong to this source, add a sitemap or a start URL of their host.",
                incomplete=len(elsewhere) == len(everything),
            )
        for sitemap in filter(self.reader.rules.in_scope, listed.sitemaps):
            self.frontier.add_sitemap(sitemap)
        for page in filter(self.reader.rules.may_visit, listed.pages):
            self.frontier.add(page, listed=True)
        return []

    async def _get_sitemap(self, url: str) -> Answer:
        answer = await self.reader.client.get(url)
        for _ in range(MAX_HOPS):
            if answer.target is None or not self.reader.rules.in_scope(answer.target):
                break
            answer = await self.reader.client.get(answer.target)
        return answer

    # -- pages --------------------------------------------------------------------------------------------------------

    async def _visit(self, entry: Entry) -> list[Event]:
        before, entry.found = entry.hint, Found.NOTHING
        anew = entry.was_too_large(self.reader.client.manners.max_bytes)
        reading = await self.reader.read(entry.url, None if anew else entry.validators)
        note(entry, reading)
        answer = reading.answer
        if answer is None:
            if entry.is_start:
                self._problem(reading.why)
            return []
        if reading.kind is Kind.NOT_NOW:
            raise NotNow(reading.why, retry_after=answer.retry_after)
        if reading.kind is Kind.FAILING:
            raise Unreachable(reading.why)
        self.frontier.answered += 1
        if entry.found == Found.PAGE:
            return self._page(entry, reading, answer, before)
        if reading.kind is Kind.MOVED:
            self._redirect(entry, reading, answer)
        elif reading.kind is Kind.REFUSED:
            self._refused(entry, answer)
        elif reading.kind is Kind.GONE:
            if entry.is_start and not entry.hops:
                self._problem(reading.why)
            return [Removal(entry.url)]
        return []

    def _page(self, entry: Entry, reading: Reading, answer: Answer, before: str) -> list[Event]:
        if not entry.listed and entry.depth < self.max_depth:
            for link in filter(self.reader.rules.may_visit, reading.page.links):
                self.frontier.add(link, depth=entry.depth + 1)
        original = reading.leads_to or entry.original
        if original and entry.hops < MAX_HOPS:
            self.frontier.add(original, depth=entry.depth, listed=entry.listed, hops=entry.hops + 1)
        if not entry.hint or entry.original:  # copies are decided at the end of the run
            return []
        if entry.hint != before and not answer.cut:
            self._hold(answer, reading)
        return [DocumentReference(entry.url, entry.hint)]

    def _refused(self, entry: Entry, answer: Answer) -> None:
        opens_nothing = self.frontier.page_of(origin_of(entry.url)) is None
        if answer.status == 401 and (entry.is_start or (opens_nothing and self.reader.client.manners.authorization)):
            raise CredentialsRejected(
                f"{entry.url} refused the credentials (401).", "Check the source's password_env or token_env."
            )
        self._problem(
            f"{entry.url} answered {answer.status}. Exclude it if it need not be read; until then, documents that are"
            " missing from the crawl are not removed.",
            incomplete=True,
        )

    def _redirect(self, entry: Entry, reading: Reading, answer: Answer) -> None:
        if not reading.leads_to:
            if entry.is_start:
                self._problem(
                    f"{entry.url} redirects to {answer.headers.get('location')}, which is out of scope. Add that to"
                    " start_urls if it belongs to this source.",
                    incomplete=True,
                )
        elif entry.hops < MAX_HOPS:
            self.frontier.add(reading.leads_to, depth=entry.depth, listed=entry.listed, hops=entry.hops + 1)
        else:
            self._problem(f"{entry.url} is redirected more than {MAX_HOPS} times.")

    def _told_at_the_end(self) -> list[Event]:
        """The copies that are indexed after all, because their originals cannot be. Also reports a crawl that was cut
        off."""
        frontier = self.frontier
        if frontier.capped:
            self._problem(f"The crawl stopped at {frontier.max_pages:,} URLs. Raise max_pages, or exclude some.")
        copies = (entry for entry in frontier.pages if entry.original and entry.is_readable)
        return [DocumentReference(copy.url, copy.hint) for copy in copies if is_indexed(copy, frontier.known)]

    # -- state of the run ---------------------------------------------------------------------------------------------

    def _fail(self, problem: str) -> None:
        self._mark_failed()
        self._problem(problem, incomplete=True)

    def _mark_failed(self) -> None:
        if self.frontier.sitemap_at >= len(self.frontier.sitemaps):
            self.frontier.pages[self.frontier.at].found = Found.FAILED

    def _problem(self, problem: str, *, incomplete: bool = False) -> None:
        log.warning("web: %s", problem)
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
        self.frontier.full = self.frontier.full and not incomplete

    def _hold(self, answer: Answer, reading: Reading) -> None:
        if reading.kind is Kind.HIDDEN:
            self.held.put_skipped(answer.url, reading.why)
            return
        try:
            self.held.put(self.make_document(answer, reading.page))
        except Exception:  # the host requests the page again by its id, and quarantines it if it fails again
            log.exception("web: %s", answer.url)
            return
        self._bytes += len(answer.body)

    def _should_save(self) -> bool:
        late = time.monotonic() - self._saved_at > SAVE_SECONDS
        return late or self._pages >= SAVE_PAGES or self._bytes > SAVE_BYTES

    async def _checkpoint(self) -> Checkpoint:
        self._bytes, self._pages, self._saved_at = 0, 0, time.monotonic()
        return Checkpoint({"run": await asyncio.to_thread(self.frontier.cursor)})
