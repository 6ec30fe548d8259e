"""What servers get wrong costs a crawl the page it is wrong on, and no more than that."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterator

import pytest

from semantik_pipeline.builtin.connectors import web_reading
from semantik_pipeline.builtin.connectors.web_bodies import Gunzip
from semantik_pipeline.builtin.connectors.web_pages import read_page
from semantik_pipeline.builtin.connectors.web_rules import canonical
from semantik_pipeline.documents import DocumentReference
from semantik_pipeline.errors import DocumentUnreadable, PermanentError
from semantik_pipeline.testing.connectors import enumerated, fetched
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
