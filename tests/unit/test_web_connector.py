"""The connector `web` against a real server on loopback: what it reads, what it leaves, what it never asks for."""

from __future__ import annotations

import asyncio
import base64
import gzip
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.builtin.connectors import web_addresses, web_crawl, web_pages
from semantik_pipeline.builtin.connectors.web import WebConnector
from semantik_pipeline.builtin.connectors.web_addresses import AddressRefused, is_public
from semantik_pipeline.builtin.connectors.web_frontier import Frontier
from semantik_pipeline.builtin.connectors.web_pages import BadSitemap, read_page, read_sitemap
from semantik_pipeline.builtin.connectors.web_rules import canonical
from semantik_pipeline.documents import Checkpoint, DocumentReference, Removal
from semantik_pipeline.errors import (
    CredentialsRejected,
    DocumentGone,
    DocumentUnreadable,
    PermanentError,
    PluginConfigError,
    SkipDocument,
    TransientError,
)
from semantik_pipeline.testing.connectors import Event, enumerated, fetched, references
from semantik_pipeline.testing.web_site import Reply, WebSite
from tests.crawls import complete, connector, paths


@pytest.fixture
def site() -> Iterator[WebSite]:
    with WebSite() as one:
        one.page("/", "home", "/a", "/b")
        one.page("/a", "page a", "/", "/c")
        one.page("/b", "page b")
        one.page("/c", "page c", "/a")
        yield one


# -- what is read -----------------------------------------------------------------------------------------------------


def test_a_crawl_reads_each_page_once_in_order_of_depth(site: WebSite) -> None:
    events = enumerated(connector(site))
    assert paths(site, events) == ["/", "/a", "/b", "/c"]
    assert complete(events).full
    assert site.asked() == ["/", "/a", "/b", "/c"]


def test_a_page_that_was_just_read_is_not_asked_for_again_to_be_fetched(site: WebSite) -> None:
    async def read() -> list[str]:
        plugin = connector(site)
        return [
            (await plugin.fetch(event)).body.decode()
            async for event in plugin.enumerate()
            if isinstance(event, DocumentReference)
        ]

    import asyncio

    bodies = asyncio.run(read())
    assert "page a" in bodies[1]
    assert site.asked() == ["/", "/a", "/b", "/c"]


def test_a_document_is_the_body_with_its_title(site: WebSite) -> None:
    site.replies["/notes.md"] = Reply(body=b"# Notes\n", media_type="text/plain", headers={"Last-Modified": DATE})
    plugin = connector(site)
    page = fetched(plugin, DocumentReference(f"{site.url}/a"))
    assert page.metadata == {"url": f"{site.url}/a", "title": "page a"}
    assert (page.media_type, page.source_type) == ("text/html", "web")
    notes = fetched(plugin, DocumentReference(f"{site.url}/notes.md"))
    assert (notes.media_type, notes.metadata["modified"]) == ("text/markdown", "2026-01-02T03:04:05+00:00")


DATE = "Fri, 02 Jan 2026 03:04:05 GMT"


def test_a_charset_that_only_the_header_names_is_kept(site: WebSite) -> None:
    site.replies["/x.txt"] = Reply(body="Größe".encode("iso-8859-15"), media_type="text/plain; charset=iso-8859-15")
    assert fetched(connector(site), DocumentReference(f"{site.url}/x.txt")).body.decode() == "Größe"


def test_bounds_of_depth_pages_globs_and_folder(site: WebSite) -> None:
    assert paths(site, enumerated(connector(site, max_depth=1))) == ["/", "/a", "/b"]
    assert paths(site, enumerated(connector(site, exclude=["a"]))) == ["/", "/b"]
    only = enumerated(connector(site, include=["c"]))
    assert (paths(site, only), complete(only).full) == (["/c"], True)
    plugin = connector(site, max_pages=2)
    few = enumerated(plugin)
    assert (paths(site, few), complete(few).full) == (["/", "/a"], False)
    assert "max_pages" in plugin.problems[-1]
    site.page("/guide/start", "guide", "/guide/more", "/a")
    site.page("/guide/more", "more")
    inside = enumerated(connector(site, start_urls=[f"{site.url}/guide/start"]))
    assert paths(site, inside) == ["/guide/start", "/guide/more"]


def test_other_media_types_and_noindex_are_no_documents(site: WebSite) -> None:
    site.page("/", "home", "/logo", "/hidden", "/told")
    site.replies["/logo"] = Reply(body=b"\x89PNG", media_type="image/png")
    site.page("/hidden", "hidden", "/c", head='<meta name="robots" content="noindex">')
    site.page("/told", "told", headers={"X-Robots-Tag": "noindex"})
    plugin = connector(site)
    events = enumerated(plugin)
    assert paths(site, events) == ["/", "/hidden", "/told", "/c", "/a"]
    for skipped in references(events)[1:3]:
        with pytest.raises(SkipDocument, match="noindex"):
            fetched(plugin, skipped)
    with pytest.raises(SkipDocument, match="image/png"):
        fetched(connector(site), DocumentReference(f"{site.url}/logo"))


def test_a_page_too_large_is_quarantined_by_name(site: WebSite) -> None:
    site.page("/a", "x" * 5000)
    plugin = connector(site, max_bytes=2000)
    found = {one.unique_id: one for one in references(enumerated(plugin))}
    with pytest.raises(PermanentError, match="2,000 bytes"):
        fetched(plugin, found[f"{site.url}/a"])


def test_a_page_that_was_too_large_is_read_when_the_limit_is_raised_and_not_before(site: WebSite) -> None:
    site.page("/a", "x" * 5000)
    events = enumerated(connector(site, max_bytes=2000))
    before = {one.unique_id: one.change_hint for one in references(events)}
    site.asked()
    again = enumerated(connector(site, max_bytes=2000), complete(events).cursor)
    assert {one.unique_id: one.change_hint for one in references(again)} == before and site.asked(200) == []
    plugin = connector(site, max_bytes=9000)
    raised = enumerated(plugin, complete(again).cursor)
    changed = [one for one in references(raised) if one.change_hint != before.get(one.unique_id)]
    assert paths(site, changed) == ["/a"] and "xxx" in fetched(plugin, changed[0]).body.decode()
    assert enumerated(connector(site, max_bytes=9000), complete(raised).cursor)[:-1] == raised[:-1]


# -- one page, one name -----------------------------------------------------------------------------------------------


def test_one_page_has_one_name() -> None:
    assert canonical("HTTP://Example.COM:80/a/../b?q=1#top") == "http://example.com/b?q=1"
    assert canonical("../x?", "http://h.org/a/b") == "http://h.org/x"
    for bad in ("mailto:a@b.c", "javascript:void(0)", "http://user:pw@h.org/", "http://", "http://[::", "x" * 3000):
        assert canonical(bad) is None


@given(st.text(max_size=40))
def test_the_normal_form_of_a_normal_form_is_itself(text: str) -> None:
    found = canonical(f"http://h.org/{text}")
    assert found is None or canonical(found) == found


def test_redirects_are_followed_within_the_scope_and_loops_end(site: WebSite) -> None:
    def moved(to: str) -> Reply:
        return Reply(status=302, headers={"Location": to})

    site.page("/", "home", "/old", "/loop1", "/away", "/count0")
    site.replies["/old"] = moved("/b")
    site.replies["/loop1"], site.replies["/loop2"] = moved("/loop2"), moved("/loop1")
    site.replies["/away"] = moved("http://192.0.2.1/secret")
    for number in range(30):
        site.replies[f"/count{number}"] = moved(f"/count{number + 1}")
    plugin = connector(site)
    events = enumerated(plugin)
    assert paths(site, events) == ["/", "/b"]
    assert complete(events).full
    assert "more than 10 times" in plugin.problems[0]
    assert len([path for path in site.asked() if path.startswith("/count")]) == 11


def test_a_start_that_leads_out_of_scope_is_a_problem_and_proves_nothing(site: WebSite) -> None:
    site.replies["/"] = Reply(status=301, headers={"Location": "http://elsewhere.example/"})
    plugin = connector(site)
    events = enumerated(plugin)
    assert events[:-1] == [] and not complete(events).full
    assert "out of scope" in plugin.problems[0]


def test_copies_name_their_original_but_a_home_page_is_nobodys(site: WebSite) -> None:
    site.page("/", "home", "/shop?sort=price", "/b")
    site.page("/shop?sort=price", "shop", head='<link rel="canonical" href="/shop">')
    site.page("/shop", "shop")
    site.page("/b", "page b", head='<link rel="canonical" href="/">')
    assert paths(site, enumerated(connector(site))) == ["/", "/b", "/shop"]


# -- the next run -----------------------------------------------------------------------------------------------------


def test_the_next_run_asks_for_what_changed_only(site: WebSite) -> None:
    first = enumerated(connector(site))
    site.asked()
    second = enumerated(connector(site), complete(first).cursor)
    assert site.asked(304) == ["/", "/a", "/b", "/c"]
    hints = [(one.unique_id, one.change_hint) for one in references(first)]
    assert sorted((one.unique_id, one.change_hint) for one in references(second)) == sorted(hints)
    site.page("/b", "page b is new", "/d")
    site.page("/d", "page d")
    del site.replies["/c"]
    third = enumerated(connector(site), complete(second).cursor)
    assert {request.path: request.status for request in site.requests if request.path != "/robots.txt"} == {
        "/": 304,
        "/a": 304,
        "/b": 200,
        "/c": 404,
        "/d": 200,
    }
    assert Removal(f"{site.url}/c") in third
    assert complete(third).full
    before = {one.unique_id: one.change_hint for one in references(second)}
    changed = {one.unique_id for one in references(third) if before.get(one.unique_id) != one.change_hint}
    assert changed == {f"{site.url}/b", f"{site.url}/d"}


def test_what_nothing_links_to_is_noticed_by_a_crawl_that_begins_anew(site: WebSite) -> None:
    cursor = complete(enumerated(connector(site))).cursor
    site.page("/", "home", "/a")
    assert "/b" in paths(site, enumerated(connector(site), cursor))
    anew = enumerated(connector(site, recrawl_days=0), cursor)
    assert paths(site, anew) == ["/", "/a", "/c"] and complete(anew).full


def test_a_page_that_fails_for_a_while_removes_nothing_and_is_not_forgotten(site: WebSite) -> None:
    cursor = complete(enumerated(connector(site))).cursor
    good = site.replies["/c"]
    site.replies["/c"] = Reply(status=500, etag=False)
    plugin = connector(site)
    events = enumerated(plugin, cursor)
    assert not complete(events).full
    assert not any(isinstance(event, Removal) for event in events)
    assert "500" in plugin.problems[0]
    site.replies["/c"] = good
    assert "/c" in paths(site, enumerated(connector(site), complete(events).cursor))


def test_problems_of_one_enumeration_are_not_reported_by_another(site: WebSite) -> None:
    """Sources of the same configuration share an instance."""
    site.replies["/c"] = Reply(status=500, etag=False)
    plugin = connector(site)

    async def both() -> None:
        async def run() -> None:
            async for _ in plugin.enumerate():
                pass

        await asyncio.gather(run(), run())

    asyncio.run(both())
    assert len(plugin.problems) == 1


def test_a_forbidden_page_is_said_and_proves_nothing(site: WebSite) -> None:
    site.replies["/c"] = Reply(status=403, etag=False)
    plugin = connector(site)
    assert not complete(enumerated(plugin)).full
    assert "403" in plugin.problems[0] and "Exclude" in plugin.problems[0]
    with pytest.raises(DocumentUnreadable, match="403"):
        fetched(plugin, DocumentReference(f"{site.url}/c"))


def test_checkpoints_hold_the_place_and_stay_small(site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_crawl, "SAVE_PAGES", 1)
    events = enumerated(connector(site))
    marks = [event for event in events if isinstance(event, Checkpoint)]
    assert len(marks) == 4
    site.asked()
    rest = enumerated(connector(site), marks[1].cursor)
    assert (paths(site, rest), site.asked()) == (["/b", "/c"], ["/b", "/c"])


def test_a_cursor_of_ten_thousand_pages_is_half_a_megabyte() -> None:
    import hashlib

    frontier = Frontier(max_pages=10_000, began=0.0)
    for number in range(10_000):
        frontier.add(f"https://docs.example.org/guide/chapter-{number % 97}/section-{number}.html", depth=3)
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        frontier.pages[-1].hint, frontier.pages[-1].etag = digest[:16], f'"{digest[16:32]}"'
    text = frontier.cursor()
    assert len(text) < 500_000
    assert Frontier.from_cursor(text, 10_000) == frontier


# -- manners ----------------------------------------------------------------------------------------------------------


def robots(text: str, status: int = 200) -> Reply:
    return Reply(body=text.encode(), status=status, media_type="text/plain", etag=False)


def test_robots_txt_is_kept_to(site: WebSite) -> None:
    site.replies["/robots.txt"] = robots("User-agent: *\nDisallow: /a\n")
    assert paths(site, enumerated(connector(site))) == ["/", "/b"]
    assert "/a" not in site.asked()
    assert "/a" in paths(site, enumerated(connector(site, obey_robots=False)))
    named = "User-agent: SemantikPipeline\nDisallow: /\n\nUser-agent: *\nAllow: /\n"
    site.replies["/robots.txt"] = robots(named)
    plugin = connector(site)
    assert references(enumerated(plugin)) == []
    assert "robots.txt forbids it" in plugin.problems[0]


def test_a_crawl_delay_is_waited_for(site: WebSite) -> None:
    site.replies["/robots.txt"] = robots("User-agent: *\nCrawl-delay: 0.2\n")
    enumerated(connector(site))
    times = [request.at for request in site.requests]
    gaps = [later - earlier for earlier, later in pairwise(times[1:])]
    assert len(gaps) == 3 and min(gaps) > 0.15


def test_without_its_robots_txt_a_site_is_not_read(site: WebSite) -> None:
    site.replies["/robots.txt"] = robots("oops", status=500)
    with pytest.raises(TransientError, match="500"):
        enumerated(connector(site))
    assert site.asked() == []


def test_not_now_ends_the_slice_and_says_when(site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.replies["/b"] = Reply(status=429, headers={"Retry-After": "7"}, etag=False)
    events: list[Event] = []

    async def read() -> None:
        async for event in connector(site).enumerate(events[-1].cursor if events else None):
            events.append(event)

    import asyncio

    now = time.time()
    monkeypatch.setattr(web_crawl.time, "time", lambda: now)
    for asked in (["/", "/a", "/b"], ["/b"], ["/b"]):
        with pytest.raises(TransientError) as error:
            asyncio.run(read())
        assert error.value.retry_after == 7
        assert isinstance(events[-1], Checkpoint)
        now += 5
        with pytest.raises(
            TransientError
        ) as error:  # whoever goes on from the checkpoint waits for the rest of the time
            asyncio.run(read())
        assert error.value.retry_after == pytest.approx(2)
        assert site.asked() == asked
        now += 2
    asyncio.run(read())  # one page that always says so doesn't hold up the others for ever
    assert not complete(events).full
    assert paths(site, events) == ["/", "/a", "/c"]


def test_a_retry_after_may_be_a_date(site: WebSite) -> None:
    from email.utils import formatdate

    site.replies["/"] = Reply(
        status=503, headers={"Retry-After": formatdate(time.time() + 90, usegmt=True)}, etag=False
    )
    with pytest.raises(TransientError) as error:
        enumerated(connector(site))
    assert 80 < error.value.retry_after <= 90


def test_a_slow_page_costs_the_timeout(site: WebSite) -> None:
    site.replies["/a"] = Reply(body=b"late", delay=1.0)
    plugin = connector(site, timeout=0.3)
    events = enumerated(plugin)
    assert paths(site, events) == ["/", "/b"] and not complete(events).full
    assert "longer than 0.3 s" in plugin.problems[0]


def test_credentials_go_to_their_own_host_and_a_refusal_says_so(site: WebSite) -> None:
    secret = base64.b64encode(b"me:pw").decode()
    site.page("/", "home", password=secret)
    granted = {"username": "me", "password": "pw"}
    assert paths(site, enumerated(connector(site, **granted))) == ["/"]
    for options in ({**granted, "password": "no"}, {"token": "t"}, {}):
        with pytest.raises(CredentialsRejected, match="401"):
            enumerated(connector(site, **options))
    with WebSite() as other:
        site.page("/", "home", password=secret)
        site.replies["/robots.txt"] = Reply(status=302, headers={"Location": f"{other.url}/robots.txt"})
        enumerated(connector(site, **granted))
        assert [request.headers.get("Authorization") for request in other.requests] == [None]


# -- addresses --------------------------------------------------------------------------------------------------------

PRIVATE = [
    *("127.0.0.1", "127.8.9.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("255.255.255.255", "224.0.0.1", "198.18.0.1", "192.0.2.1", "240.0.0.1"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1", "fec0::1", "100::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "2002:7f00:1::"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::8.8.8.8"]
)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1"])
def test_private_hosts_are_refused_in_every_spelling(site: WebSite, host: str) -> None:
    plugin = connector(site, allow_private=False, start_urls=[f"http://{host}:{site.port}/"])
    with pytest.raises(AddressRefused, match="allow_private"):
        enumerated(plugin)
    assert site.requests == []


def test_a_name_with_one_private_address_among_public_ones_is_refused(
    site: WebSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def mixed(host: str, port: int) -> list[str]:
        return ["93.184.216.34", "127.0.0.1"]

    monkeypatch.setattr(web_addresses, "resolve", mixed)
    with pytest.raises(AddressRefused, match=r"127\.0\.0\.1"):
        enumerated(connector(site, allow_private=False, start_urls=[f"http://site.example:{site.port}/"]))


def test_rebinding_a_name_gains_nothing(site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is connected to is what was checked, and each request is checked anew."""
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1" if len(asked) < 3 else "169.254.169.254"]

    monkeypatch.setattr(web_addresses, "resolve", rebinding)
    monkeypatch.setattr(web_addresses, "is_public", lambda address: address == "127.0.0.1")  # as if it were
    plugin = connector(site, allow_private=False, start_urls=[f"http://site.example:{site.port}/"])
    assert not complete(enumerated(plugin)).full
    assert all("169.254.169.254" in problem for problem in plugin.problems)
    assert asked == ["site.example"] * 4  # robots.txt, the start, and its two links, resolved once each
    assert [request.path for request in site.requests] == ["/robots.txt", "/"]
    assert site.requests[0].headers["Host"] == f"site.example:{site.port}"


def test_a_name_that_does_not_resolve_is_tried_again() -> None:
    plugin = WebConnector({"start_urls": ["http://nowhere.invalid/"]})
    with pytest.raises(TransientError, match="does not resolve"):
        enumerated(plugin)


# -- sitemaps ---------------------------------------------------------------------------------------------------------

XMLNS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def listing(*urls: str, kind: str = "urlset") -> bytes:
    tag = "url" if kind == "urlset" else "sitemap"
    body = "".join(f"<{tag}><loc> {url} </loc></{tag}>" for url in urls)
    return f'<?xml version="1.0" encoding="UTF-8"?><{kind} {XMLNS}>{body}</{kind}>'.encode()


def mapped(site: WebSite, *listed: str) -> WebConnector:
    site.replies["/index.xml"] = Reply(
        body=listing(f"{site.url}/pages.xml.gz", kind="sitemapindex"), media_type="text/xml"
    )
    body = gzip.compress(listing(*[f"{site.url}{path}" for path in listed], "http://elsewhere.example/x"))
    site.replies["/pages.xml.gz"] = Reply(body=body, media_type="application/gzip")
    return connector(site, start_urls=[], sitemaps=[f"{site.url}/index.xml"])


def test_a_packed_sitemap_of_an_index_lists_the_pages(site: WebSite) -> None:
    events = enumerated(mapped(site, "/a", "/c"))
    assert (paths(site, events), complete(events).full) == (["/a", "/c"], True)
    assert site.asked() == ["/index.xml", "/pages.xml.gz", "/a", "/c"]
    later = enumerated(mapped(site, "/a", "/b"), complete(events).cursor)
    assert (paths(site, later), complete(later).full) == (["/a", "/b"], True)
    assert site.asked(304) == ["/a"]


def test_a_sitemap_that_cannot_be_read_removes_nothing(site: WebSite) -> None:
    cursor = complete(enumerated(mapped(site, "/a", "/c"))).cursor
    plugin = mapped(site)
    site.replies["/pages.xml.gz"] = Reply(body=b"<html>sorry</html>")
    events = enumerated(plugin, cursor)
    assert (paths(site, events), complete(events).full) == (["/a", "/c"], False)
    assert "<html>" in plugin.problems[0]


def test_bad_sitemaps_are_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "' + b"x" * 9999 + b'">]><urlset><url><loc>&a;</loc></url></urlset>'
    assert read_sitemap(bomb).pages == ()
    for bad, why in ((b"<urlset><url>", "not XML"), (b"\x1f\x8bxx", "not a gzip"), (b"<rss/>", "<rss>")):
        with pytest.raises(BadSitemap, match=why):
            read_sitemap(bad)
    monkeypatch.setattr(web_pages, "MAX_SITEMAP", 1000)
    with pytest.raises(BadSitemap, match="1,000 bytes"):
        read_sitemap(gzip.compress(b"http://h.org/\n" * 1000))
    assert read_sitemap(b"http://h.org/1\nhttp://h.org/2\n").pages == ("http://h.org/1", "http://h.org/2")


@given(st.binary(max_size=200))
def test_no_page_breaks_the_reader(body: bytes) -> None:
    read_page(body, "http://h.org/", charset=None)


def test_base_area_and_nofollow_links() -> None:
    body = b'<base href="/docs/"><a href="one">1</a><a rel="nofollow" href="two">2</a><area href="three">'
    assert read_page(body, "http://h.org/", charset=None).links == ("http://h.org/docs/one", "http://h.org/docs/three")


def test_a_link_that_a_page_repeats_is_read_once_and_anchors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(web_pages, "canonical", lambda href, base=None: read.append(href) or canonical(href, base))
    body = b'<a href="one">1</a><a href="/one">1</a>' * 100 + b'<a href="two">2</a>'
    assert read_page(body, "http://h.org/", charset=None).links == ("http://h.org/one", "http://h.org/two")
    assert read == ["one", "/one", "two"]
    monkeypatch.setattr(web_pages, "MAX_ANCHORS", 200)
    assert read_page(body, "http://h.org/", charset=None).links == ("http://h.org/one",)


# -- the configuration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [{}, {"start_urls": ["ftp://x.org"]}, {"start_urls": ["http://u:p@x.org/"]}, {"sitemaps": ["x"], "password": "p"}],
)
def test_configurations_that_cannot_work_say_why(config: dict) -> None:
    with pytest.raises(PluginConfigError):
        WebConnector(config).validate_config()


def test_what_has_gone_since_it_was_named(site: WebSite) -> None:
    for path in ("/gone", "/../outside"):
        with pytest.raises(DocumentGone):
            fetched(connector(site), DocumentReference(f"{site.url}{path}"))
    with pytest.raises(DocumentGone, match="scope"):
        fetched(connector(site), DocumentReference("http://elsewhere.example/"))
