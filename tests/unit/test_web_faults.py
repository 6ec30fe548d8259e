"""What servers get wrong costs a crawl the page it is wrong on, and no more than that."""

from __future__ import annotations

import asyncio
import base64
import gzip
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest

from semantik_pipeline.builtin.connectors import web_addresses, web_reading
from semantik_pipeline.builtin.connectors.web_bodies import Gunzip
from semantik_pipeline.builtin.connectors.web_pages import read_page
from semantik_pipeline.builtin.connectors.web_rules import canonical
from semantik_pipeline.documents import DocumentReference
from semantik_pipeline.errors import (
    CredentialsRejected,
    DocumentUnreadable,
    PermanentError,
    ServiceUnavailable,
    TransientError,
)
from semantik_pipeline.testing.connectors import enumerated, fetched, references, removals
from semantik_pipeline.testing.web_site import Reply, WebSite
from tests.crawls import complete, connector, paths


@pytest.fixture
def site() -> Iterator[WebSite]:
    with WebSite() as one:
        one.page("/", "home", "/odd", "/z")
        one.page("/z", "the last page")
        yield one


# -- headers ----------------------------------------------------------------------------------------------------------


def test_a_date_beyond_all_calendars_is_none(site: WebSite) -> None:
    site.page("/odd", "odd", headers={"Last-Modified": "Mon, 01 Jan 99999999999 00:00:00 GMT"})
    events = enumerated(connector(site))
    assert (paths(site, events), complete(events).full) == (["/", "/odd", "/z"], True)
    assert "modified" not in fetched(connector(site), DocumentReference(f"{site.url}/odd")).metadata


def test_an_etag_that_no_header_can_repeat_is_not_sent_back(site: WebSite) -> None:
    site.page("/odd", "odd", headers={"ETag": '"é"'}, etag=False)
    events = enumerated(connector(site))
    again = enumerated(connector(site), complete(events).cursor)
    assert (paths(site, again), complete(again).full) == (["/", "/odd", "/z"], True)


def test_a_redirect_to_what_is_not_an_address_leads_nowhere(site: WebSite) -> None:
    site.replies["/odd"] = Reply(status=302, headers={"Location": "http://["})
    events = enumerated(connector(site))
    assert (paths(site, events), complete(events).full) == (["/", "/z"], True)


# -- charsets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "codec", "declared"),
    [
        ("한국어", "cp949", "EUC-KR"),
        ("한국어", "cp949", "ks_c_5601-1987"),
        ("日本語", "euc_jp", "EUC-JP"),
        ("日本語", "iso2022_jp", "ISO-2022-JP"),
        ("naïve", "mac_roman", "macintosh"),
        ("Größe", "utf-8", "undefined"),
    ],
)
def test_a_page_in_any_charset_is_read(site: WebSite, text: str, codec: str, declared: str) -> None:
    page = f'<title>{text}</title><a href="/{text}">{text}</a>'
    site.replies["/odd"] = Reply(body=page.encode(codec), media_type=f"text/html; charset={declared}")
    site.replies["/odd.txt"] = Reply(body=text.encode(codec), media_type=f"text/plain; charset={declared}")
    assert canonical(f"{site.url}/{text}").removeprefix(site.url) in asked_by(site)
    document = fetched(connector(site), DocumentReference(f"{site.url}/odd"))
    assert (document.metadata["title"], document.body.decode()) == (text, page)
    assert fetched(connector(site), DocumentReference(f"{site.url}/odd.txt")).body.decode() == text


def asked_by(site: WebSite) -> list[str]:
    events = enumerated(connector(site))
    assert paths(site, events) == ["/", "/odd", "/z"] and complete(events).full
    return site.asked()


def test_a_page_that_declares_its_charset_itself_is_left_as_it_is(site: WebSite) -> None:
    page = "<meta charset=EUC-KR><title>한국어</title>".encode("cp949")
    for media_type in ("text/html", "text/html; charset=x-nonsense", "text/html; charset=euc-kr"):
        site.replies["/odd"] = Reply(body=page, media_type=media_type)
        document = fetched(connector(site), DocumentReference(f"{site.url}/odd"))
        assert (document.metadata["title"], document.body) == ("한국어", page)


def test_a_page_that_the_reader_trips_over_fails_alone(site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(body: bytes, url: str, **options: object) -> object:
        if url.endswith("/odd"):
            raise RuntimeError("tripped")
        return read_page(body, url, **options)

    site.page("/odd", "odd")
    monkeypatch.setattr(web_reading, "read_page", read)
    plugin = connector(site)
    events = enumerated(plugin)
    assert (paths(site, events), complete(events).full) == (["/", "/z"], False)
    assert "/odd" in plugin.problems[0] and "tripped" in plugin.problems[0]


# -- bodies -----------------------------------------------------------------------------------------------------------


def packed(body: bytes, times: int = 1, encoding: str = "gzip") -> Reply:
    for _ in range(times):
        body = gzip.compress(body)
    return Reply(body=body, headers={"Content-Encoding": encoding})


def test_a_page_is_asked_for_and_read_in_gzip(site: WebSite) -> None:
    page = b"<title>odd</title>" + b"<p>text</p>" * 1000
    site.replies["/odd"] = packed(page)
    reference = DocumentReference(f"{site.url}/odd")
    assert fetched(connector(site), reference).body == page
    assert site.requests[-1].headers["Accept-Encoding"] == "gzip"
    site.replies["/odd"] = Reply(body=gzip.compress(page) * 2 + bytes(512), headers={"Content-Encoding": "x-gzip"})
    assert fetched(connector(site), reference).body == page * 2, "members one behind the other, and padding"


def test_members_of_a_gzip_stream_may_be_split_anywhere() -> None:
    stream = gzip.compress(b"one ") + gzip.compress(b"two") + bytes(9)
    for size in (1, 2, 3, 7, 1000):
        gunzip = Gunzip()
        pieces = [gunzip.unpack(stream[at : at + size], 100) for at in range(0, len(stream), size)]
        assert (b"".join(pieces), gunzip.ended) == (b"one two", True)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (packed(b"x" * 10**6, 3, "gzip, gzip, gzip"), "gzip, gzip, gzip"),
        (packed(b"x", 1, "br"), "Content-Encoding br"),
        (Reply(body=gzip.compress(b"x" * 1000)[:-9], headers={"Content-Encoding": "gzip"}), "ends early"),
        (Reply(body=b"no gzip", headers={"Content-Encoding": "gzip"}), "damaged"),
    ],
)
def test_a_body_that_cannot_be_unpacked_costs_its_page_only(site: WebSite, reply: Reply, why: str) -> None:
    site.replies["/odd"] = reply
    plugin = connector(site)
    events = enumerated(plugin)
    assert (paths(site, events), complete(events).full) == (["/", "/z"], False)
    assert f"{site.url}/odd" in plugin.problems[0] and why in plugin.problems[0]
    with pytest.raises(DocumentUnreadable, match=why):
        fetched(connector(site), DocumentReference(f"{site.url}/odd"))


def test_a_body_is_unpacked_to_the_limit_and_no_further(site: WebSite) -> None:
    site.replies["/odd"] = packed(bytes(200 * 2**20))
    plugin = connector(site, max_bytes=2**20)
    tracemalloc.start()
    try:
        events = enumerated(plugin)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert paths(site, events) == ["/", "/odd", "/z"]
    assert peak < 16 * 2**20
    with pytest.raises(PermanentError, match="1,048,576 bytes"):
        fetched(plugin, DocumentReference(f"{site.url}/odd"))


def test_a_packed_sitemap_that_was_cut_short_is_not_taken_for_the_whole(site: WebSite) -> None:
    whole = gzip.compress("".join(f"{site.url}/{number}\n" for number in range(2000)).encode())
    site.replies["/sitemap.txt.gz"] = Reply(body=whole[: len(whole) // 2], media_type="application/gzip")
    plugin = connector(site, start_urls=[], sitemaps=[f"{site.url}/sitemap.txt.gz"])
    assert not complete(enumerated(plugin)).full
    assert "ends early" in plugin.problems[0]


# -- hosts that fail --------------------------------------------------------------------------------------------------


def broken(site: WebSite, *paths: str) -> None:
    site.replies.update({path: Reply(status=502, etag=False) for path in paths})


def test_many_broken_pages_in_a_row_do_not_hide_the_others(site: WebSite) -> None:
    bad = [f"/bad{number}" for number in range(9)]
    site.page("/", "home", *bad, "/z")
    broken(site, *bad)
    plugin = connector(site)
    events = enumerated(plugin)
    assert (paths(site, events), complete(events).full) == (["/", "/z"], False)
    assert [problem.count("502") for problem in plugin.problems] == [1] * 9
    assert site.asked().count("/") == 3, "after each four of them, the start was asked for once more"


def test_a_site_of_which_no_page_has_answered_yet_is_known_by_its_robots_txt(site: WebSite) -> None:
    bad = [f"/bad{number}" for number in range(5)]
    broken(site, *bad)
    site.replies["/map.txt"] = Reply(
        body="".join(f"{site.url}{path}\n" for path in [*bad, "/z"]).encode(), media_type="text/plain"
    )
    plugin = connector(site, start_urls=[], sitemaps=[f"{site.url}/map.txt"])
    assert paths(site, enumerated(plugin)) == ["/z"]


def test_a_server_that_has_stopped_answering_ends_the_slice(site: WebSite) -> None:
    pages = [f"/{number}" for number in range(9)]
    site.page("/", "home", *pages)

    async def read() -> None:
        async for _ in connector(site).enumerate():
            broken(site, "/", *pages)

    with pytest.raises(ServiceUnavailable, match="502"):
        asyncio.run(read())
    assert site.asked() == ["/", *pages[:4], "/"]


def test_a_host_that_is_away_costs_its_own_pages_only(site: WebSite) -> None:
    with WebSite() as other:
        pages = [f"/{number}" for number in range(9)]
        other.page("/", "other", *pages)
        for page in pages:
            other.page(page, page)
        both = {"start_urls": [other.url, site.url]}
        first = enumerated(connector(site, **both))
        assert len(references(first)) == 12 and complete(first).full
    plugin = connector(site, **both)
    events = enumerated(plugin, complete(first).cursor)
    assert (paths(site, events), complete(events).full) == (["/", "/z"], False)
    assert not any(one.unique_id.startswith(other.url) for one in removals(events))
    assert len(plugin.problems) == 5 and "does not answer" in plugin.problems[-1]


def test_a_host_that_does_not_exist_costs_its_own_pages_only(site: WebSite) -> None:
    plugin = connector(site, start_urls=["http://nowhere.invalid/", site.url])
    events = enumerated(plugin)
    assert (paths(site, events), complete(events).full) == (["/", "/z"], False)
    assert "nowhere.invalid does not resolve" in plugin.problems[0]


def test_a_private_host_costs_its_own_pages_only(site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_addresses, "is_public", lambda address: address == "127.0.0.1")  # as if it were
    plugin = connector(site, start_urls=["http://10.0.0.1/", site.url], allow_private=False)
    events = enumerated(plugin)
    assert (paths(site, events), complete(events).full) == (["/", "/z"], False)
    assert "allow_private" in plugin.problems[0]
    with pytest.raises(DocumentUnreadable, match="allow_private"):
        fetched(plugin, DocumentReference("http://10.0.0.1/"))


@pytest.mark.parametrize(
    ("target", "why"), [("http://nowhere.invalid/", "does not resolve"), ("http://10.0.0.1/", "allow_private")]
)
def test_a_robots_txt_on_a_host_that_cannot_be_asked_forbids_its_own_site_only(
    site: WebSite, monkeypatch: pytest.MonkeyPatch, target: str, why: str
) -> None:
    monkeypatch.setattr(web_addresses, "is_public", lambda address: address == "127.0.0.1")  # as if it were
    with WebSite() as other:
        other.page("/", "other")
        other.replies["/robots.txt"] = Reply(status=302, headers={"Location": target})
        plugin = connector(site, start_urls=[other.url, site.url], allow_private=False)
        events = enumerated(plugin)
        assert (paths(site, events), complete(events).full) == (["/", "/z"], False)
        assert f"{other.url}/robots.txt redirects to {target}" in plugin.problems[0] and why in plugin.problems[0]
        with pytest.raises((TransientError, PermanentError), match=why):
            enumerated(connector(site, start_urls=[other.url], allow_private=False))
        assert other.asked() == []


# -- credentials ------------------------------------------------------------------------------------------------------


def test_a_page_that_refuses_the_credentials_of_its_site_fails_alone(site: WebSite) -> None:
    secret = base64.b64encode(b"me:pw").decode()
    for page in list(site.replies):
        site.replies[page] = replace(site.replies[page], password=secret)
    site.replies["/odd"] = Reply(status=401, etag=False)
    granted = {"username": "me", "password": "pw"}
    plugin = connector(site, **granted)
    events = enumerated(plugin)
    assert (paths(site, events), complete(events).full) == (["/", "/z"], False)
    assert "/odd answered 401" in plugin.problems[0]
    again = enumerated(connector(site, **granted), complete(events).cursor)
    assert (paths(site, again), complete(again).full) == (["/", "/z"], False)
    with pytest.raises(DocumentUnreadable, match="401"):
        fetched(plugin, DocumentReference(f"{site.url}/odd"))


def test_credentials_that_open_nothing_are_not_tried_on_every_page(site: WebSite) -> None:
    site.replies["/map.txt"] = Reply(body=f"{site.url}/odd\n{site.url}/z\n".encode(), media_type="text/plain")
    site.replies["/odd"] = Reply(status=401, etag=False)
    listed = {"start_urls": [], "sitemaps": [f"{site.url}/map.txt"]}
    with pytest.raises(CredentialsRejected, match="401"):
        enumerated(connector(site, token="t", **listed))
    assert site.asked() == ["/map.txt", "/odd"]
    assert paths(site, enumerated(connector(site, **listed))) == ["/z"], "none were given, so none are refused"
