"""Parses pages and sitemaps: links, titles, directives for crawlers, and listed URLs."""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from semantik_pipeline.builtin.charsets import MARKS, codec_of, html_charset, text_of
from semantik_pipeline.builtin.connectors.web_bodies import Gunzip
from semantik_pipeline.builtin.connectors.web_robots import is_name_of, may_follow, may_index
from semantik_pipeline.builtin.connectors.web_rules import canonical

HTML = ("text/html", "application/xhtml+xml")

#: Maximum bytes of a decompressed sitemap (the protocol's limit).
MAX_SITEMAP = 50 * 2**20

#: Maximum number of links that are taken from one page, and of anchors that are examined.
MAX_LINKS = 5_000
MAX_ANCHORS = 50_000

#: Maximum number of characters of a title that are kept.
MAX_TITLE = 300


class BadSitemap(ValueError):
    """The body is not a readable sitemap; the message explains why."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page contains apart from its text. URLs are in normal form."""

    title: str | None = None
    links: tuple[str, ...] = ()
    canonical: str | None = None
    index: bool = True


@dataclass(frozen=True, kw_only=True)
class Sitemap:
    """The pages that a sitemap lists, or the sitemaps that an index lists."""

    pages: tuple[str, ...] = ()
    sitemaps: tuple[str, ...] = ()


def read_page(
    body: bytes, url: str, *, charset: str | None, asked: Collection[str] = (), bot: str | None = None
) -> Page:
    """Parse an HTML page. ``bot`` is the crawler's user agent, and ``asked`` the directives for it from the response
    headers. The directives in the page's head are added to them, unless ``bot`` is None."""
    from lxml import etree, html

    words = set(asked)
    text = text_of(body, charset if codec_of(charset) else html_charset(body))
    try:  # the page is decoded first, because libxml2 does not know all names of charsets
        tree = html.document_fromstring(text.encode(), parser=html.HTMLParser(encoding="utf-8", huge_tree=True))
    except (etree.LxmlError, ValueError):
        return Page(index=may_index(words))
    for meta in tree.iterfind(".//meta"):
        name = (meta.get("name") or "").strip().lower()
        if bot and name and is_name_of(bot, name):
            words.update(re.split(r"[\s,]+", (meta.get("content") or "").lower()))
    base = next((tag.get("href") for tag in tree.iterfind(".//base") if tag.get("href")), None)
    base = canonical(base, url) if base else url
    rel = next((tag.get("href") for tag in tree.iterfind(".//link") if _is(tag.get("rel"), "canonical")), None)
    title = tree.findtext(".//title")
    return Page(
        title=" ".join(title.split())[:MAX_TITLE] or None if title else None,
        links=tuple(_links(tree, base or url)) if may_follow(words) else (),
        canonical=canonical(rel, base or url) if rel else None,
        index=may_index(words),
    )


def read_sitemap(body: bytes) -> Sitemap:
    """Parse a sitemap or an index of sitemaps, as XML or as a list of lines, gzipped or not. Raises BadSitemap.

    Entities are not expanded, and nothing is fetched while parsing.
    """
    from lxml import etree

    plain = _gunzipped(body) if body.startswith(b"\x1f\x8b") else body
    if not plain.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        lines = (canonical(line) for line in plain.decode("utf-8", "replace").splitlines())
        return Sitemap(pages=tuple(dict.fromkeys(filter(None, lines))))
    try:
        root = etree.fromstring(plain, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise BadSitemap(f"it is not XML ({error})") from error
    named = etree.QName(root).localname
    if named not in ("urlset", "sitemapindex"):
        raise BadSitemap(f"its root is <{named}>, not <urlset> or <sitemapindex>")
    places = (entry.findtext("{*}loc") for entry in root.iterfind("{*}url" if named == "urlset" else "{*}sitemap"))
    found = tuple(dict.fromkeys(filter(None, (canonical(place) for place in places if place))))
    return Sitemap(pages=found) if named == "urlset" else Sitemap(sitemaps=found)


def as_utf8(body: bytes, charset: str | None) -> bytes:
    """Convert text to UTF-8 if only the header names its charset. Text that declares its own charset is unchanged."""
    marked = any(body.startswith(mark) for mark, _ in MARKS) or html_charset(body)
    if marked or codec_of(charset) in (None, "ascii", "utf-8"):
        return body
    return text_of(body, charset).encode()


def _links(tree: object, base: str) -> Iterator[str]:
    written: set[str] = set()  # many pages repeat a link hundreds of times, and normalising is expensive
    seen: set[str] = set()
    for tag in islice(tree.iter("a", "area"), MAX_ANCHORS):  # type: ignore[attr-defined]
        href = tag.get("href")
        if not href or href in written or "nofollow" in (tag.get("rel") or "").lower():
            continue
        written.add(href)
        url = canonical(href, base)
        if url and url not in seen:
            seen.add(url)
            yield url
        if len(seen) >= MAX_LINKS:
            return


def _is(rel: str | None, word: str) -> bool:
    return word in (rel or "").lower().split()


def _gunzipped(body: bytes) -> bytes:
    """Decompress a body. Raises BadSitemap if it has more than MAX_SITEMAP bytes, without decompressing more than
    that."""
    gunzip = Gunzip()
    try:
        plain = gunzip.unpack(body, MAX_SITEMAP + 1)
    except zlib.error as error:
        raise BadSitemap(f"it is not a gzip file ({error})") from error
    if len(plain) > MAX_SITEMAP:
        raise BadSitemap(f"it has more than {MAX_SITEMAP:,} bytes when unpacked")
    if not gunzip.ended:
        raise BadSitemap("it ends early")
    return plain
