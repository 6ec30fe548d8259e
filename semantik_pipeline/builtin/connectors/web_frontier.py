"""The frontier of a crawl: the URLs that it still has to read, those that it has read, and what the next crawl
remembers.

All of this is in the cursor, so it is limited to ``max_pages`` URLs, compressed to about 50 bytes each (half a megabyte
for the default of 10,000). Links between pages are not kept. A page that is answered with "not modified" shows no
links. Therefore every page of the last crawl is requested again, and only new pages have to be found through a link.
Pages to which nothing links any more are noticed by crawls that start from scratch (``recrawl_days``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import Any

from semantik_pipeline.builtin.connectors.packed import packed, unpacked
from semantik_pipeline.builtin.connectors.web_rules import origin_of

#: Maximum number of sitemaps that are read in one run.
MAX_SITEMAPS = 1_000

#: Maximum number of redirects in a row.
MAX_HOPS = 10

#: Prefix of the hints of pages that ask not to be indexed. They are named, so that they are listed as skipped.
NOINDEX = "noindex:"

#: Prefix of the hints of pages that were too large to be read. The limit follows.
LARGE = "large:"


class Found(StrEnum):
    """What was found at a URL."""

    PENDING = ""
    PAGE = "p"
    FAILED = "f"  # it may be a page, so the next run requests it again
    NOTHING = "x"  # gone, a redirect, forbidden, or of a media type that is not wanted


@dataclass(kw_only=False)
class Entry:
    """A URL of a crawl. ``hint`` is the change hint of the document that was read there; it is empty if there was none.
    ``original`` is the page of which this page says that it is a copy, or the target of a redirect."""

    url: str
    depth: int = 0
    listed: bool = False  # listed by a sitemap: its links are not followed
    found: str = Found.PENDING
    hint: str = ""
    etag: str = ""
    modified: str = ""
    hops: int = 0
    original: str = ""

    @property
    def is_start(self) -> bool:
        """Whether this is a start URL, or the target of its redirects."""
        return self.depth == 0 and not self.listed

    @property
    def is_readable(self) -> bool:
        """Whether there is a page that may be indexed."""
        return self.found == Found.PAGE and self.hint != "" and not self.hint.startswith(NOINDEX)

    def was_too_large(self, max_bytes: int) -> bool:
        """Whether the page was too large under a different limit, so that it may be readable now."""
        hint = self.hint.removeprefix(NOINDEX)
        return hint.startswith(LARGE) and not hint.startswith(f"{LARGE}{max_bytes}:")

    @property
    def validators(self) -> dict[str, str]:
        """The headers of a conditional request; empty if nothing is remembered."""
        told = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in told.items() if value and value.isascii()}


@dataclass(kw_only=True)
class Frontier:
    """The URLs of a run in the order in which they are read. Those before ``at`` are done. ``known`` holds the same
    entries by URL."""

    max_pages: int
    began: float  # when the last crawl from scratch started, in seconds since the epoch
    pages: list[Entry] = field(default_factory=list)
    at: int = 0
    sitemaps: list[str] = field(default_factory=list)
    sitemap_at: int = 0
    remembered: dict[str, Entry] = field(default_factory=dict)  # listed by sitemaps last time, and not yet this time
    full: bool = True
    capped: bool = False
    answered: int = 0
    waits: int = 0  # how often the server asked to wait since the last answer
    rests_until: float = 0.0  # seconds since the epoch before which the server wants no requests
    known: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def begin(
        cls, *, start_urls: Iterable[str], sitemaps: Iterable[str], max_pages: int, now: float, last: Frontier | None
    ) -> Frontier:
        """Start a new run. ``last`` is the previous run, whose pages are requested again; None starts from scratch."""
        run = cls(max_pages=max_pages, began=last.began if last else now)
        before = {entry.url: entry for entry in last.pages if entry.found != Found.NOTHING} if last else {}
        for url in start_urls:
            run._append(replace(before.get(url, Entry(url)), depth=0, listed=False))
        for url in sitemaps:
            run.add_sitemap(url)
        for entry in before.values():
            if entry.listed:
                run.remembered[entry.url] = replace(entry, found=Found.PENDING)
            else:
                run._append(entry)
        return run

    def add(self, url: str, *, depth: int = 0, listed: bool = False, hops: int = 0) -> None:
        """Add a URL to read, unless it is already known or ``max_pages`` is reached."""
        known = self.remembered.pop(url, None)
        self._append(replace(known or Entry(url), depth=depth, listed=listed, hops=hops))

    def add_sitemap(self, url: str) -> None:
        if url in self.sitemaps:
            return
        if len(self.sitemaps) >= MAX_SITEMAPS:
            self.capped, self.full = True, False
        else:
            self.sitemaps.append(url)

    def sitemaps_are_read(self) -> None:
        """Forget pages that no sitemap lists any more. If a sitemap could not be read, request them again instead."""
        if not self.full:
            for entry in list(self.remembered.values()):
                self._append(entry)
        self.remembered = {}

    def page_of(self, origin: str) -> Entry | None:
        """The first page of this origin that was read in this run."""
        done = islice(self.pages, self.at)
        return next((one for one in done if one.found == Found.PAGE and origin_of(one.url) == origin), None)

    def _append(self, entry: Entry) -> None:
        if entry.url in self.known:
            return
        if len(self.pages) >= self.max_pages:
            self.capped, self.full = True, False
            return
        self.known[entry.url] = replace(entry, found=Found.PENDING)
        self.pages.append(self.known[entry.url])

    def cursor(self) -> str:
        """The whole frontier as a short text."""
        return packed(
            {
                "began": self.began,
                "pages": [_row(entry) for entry in self.pages],
                "at": self.at,
                "sitemaps": self.sitemaps,
                "sitemap_at": self.sitemap_at,
                "remembered": [_row(entry) for entry in self.remembered.values()],
                "state": [self.full, self.capped, self.answered, self.waits, self.rests_until],
            }
        )

    @classmethod
    def from_cursor(cls, text: str, max_pages: int) -> Frontier:
        """The frontier of :meth:`cursor`."""
        told: dict[str, Any] = unpacked(text)
        pages = [Entry(*row) for row in told["pages"]]
        remembered = [Entry(*row) for row in told["remembered"]]
        full, capped, answered, waits, *rests_until = told["state"]  # older releases had no rests_until
        return cls(
            max_pages=max_pages,
            began=told["began"],
            pages=pages,
            at=told["at"],
            sitemaps=told["sitemaps"],
            sitemap_at=told["sitemap_at"],
            remembered={entry.url: entry for entry in remembered},
            full=full,
            capped=capped,
            answered=answered,
            waits=waits,
            rests_until=rests_until[0] if rests_until else 0.0,
            known={entry.url: entry for entry in pages},
        )


def _row(entry: Entry) -> list[Any]:
    """The entry's values, without trailing values that equal the defaults."""
    row = list(astuple(entry))
    usual = list(astuple(Entry("")))
    while len(row) > 1 and row[-1] == usual[len(row) - 1]:
        row.pop()
    return row
