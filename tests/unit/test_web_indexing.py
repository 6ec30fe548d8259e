"""Which pages of a site become documents: copies and their originals, pages that ask not to be indexed, sitemaps that
list other hosts. Naming a page and fetching it judge alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from semantik_pipeline.builtin.connectors.web import WebConnector
from semantik_pipeline.builtin.connectors.web_copies import is_indexed
from semantik_pipeline.builtin.connectors.web_frontier import Entry, Found
from semantik_pipeline.builtin.connectors.web_robots import words_for
from semantik_pipeline.documents import DocumentReference
from semantik_pipeline.errors import DocumentGone, DocumentUnreadable, PermanentError, SkipDocument
from semantik_pipeline.testing.connectors import Event, enumerated, fetched, references
from semantik_pipeline.testing.web_site import Reply, WebSite
from tests.crawls import complete, connector, paths


@pytest.fixture
def site() -> Iterator[WebSite]:
    with WebSite() as one:
        one.page("/", "home", "/x?v=1")
        yield one


def copy_of(site: WebSite, path: str, original: str, **options: object) -> None:
    site.page(path, f"the page {path}", head=f'<link rel="canonical" href="{original}">', **options)


def moved(to: str) -> Reply:
    return Reply(status=301, headers={"Location": to})


# -- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["https://127.0.0.1:{port}/x?v=1", "/x/?v=1"])
def test_an_original_that_differs_in_scheme_or_last_slash_only_is_the_page_itself(site: WebSite, other: str) -> None:
    copy_of(site, "/x?v=1", other.format(port=site.port))
    assert paths(site, enumerated(connector(site))) == ["/", "/x?v=1"]
    assert site.asked() == ["/", "/x?v=1"]


def test_a_copy_is_left_out_while_its_original_is_indexed(site: WebSite) -> None:
    copy_of(site, "/x?v=1", f"https://127.0.0.1:{site.port}/x")
    site.page("/x", "the original")
    first = enumerated(connector(site))
    assert (paths(site, first), complete(first).full) == (["/", "/x"], True)
    second = enumerated(connector(site), complete(first).cursor)
    assert (paths(site, second), complete(second).full) == (["/", "/x"], True)
    assert site.asked(304) == ["/", "/x?v=1", "/x"]
    del site.replies["/x"]
    third = enumerated(connector(site), complete(second).cursor)
    assert (paths(site, third), complete(third).full) == (["/", "/x?v=1"], True), "nothing is left of the original"


@pytest.mark.parametrize(
    "original",
    [
        Reply(status=404, etag=False),
        moved("/x?v=1"),
        moved("http://elsewhere.example/"),
        Reply(media_type="image/png"),
    ],
    ids=["not there", "redirects back", "leads away", "an image"],
)
def test_a_copy_is_indexed_if_its_original_is_not(site: WebSite, original: Reply) -> None:
    copy_of(site, "/x?v=1", "/x")
    site.replies["/x"] = original
    first = enumerated(connector(site))
    assert (paths(site, first), complete(first).full) == (["/", "/x?v=1"], True)
    second = enumerated(connector(site), complete(first).cursor)
    assert references(second) == references(first), "nor is it lost when it has not changed"
    assert b"the page" in fetched(connector(site), references(first)[1]).body


def test_a_copy_is_indexed_if_its_original_asks_not_to_be(site: WebSite) -> None:
    copy_of(site, "/x?v=1", "/x")
    site.page("/x", "hidden", head='<meta name="robots" content="noindex">')
    plugin = connector(site)
    events = enumerated(plugin)
    assert (paths(site, events), skipped(site, plugin, events)) == (["/", "/x", "/x?v=1"], ["/x"])


def test_the_page_that_an_original_has_moved_to_is_the_original(site: WebSite) -> None:
    copy_of(site, "/x?v=1", "/x")
    site.replies["/x"] = moved("/new")
    site.page("/new", "the original")
    assert paths(site, enumerated(connector(site))) == ["/", "/new"]


def test_of_pages_that_call_each_other_the_original_one_is_indexed_always_the_same(site: WebSite) -> None:
    copy_of(site, "/x?v=1", "/x?v=2")
    copy_of(site, "/x?v=2", "/x?v=1")
    assert paths(site, enumerated(connector(site))) == ["/", "/x?v=1"]
    site.page("/", "home", "/x?v=2")
    assert paths(site, enumerated(connector(site))) == ["/", "/x?v=1"]


def test_a_copy_waits_for_an_original_that_fails(site: WebSite) -> None:
    copy_of(site, "/x?v=1", "/x")
    site.replies["/x"] = Reply(status=500, etag=False)
    events = enumerated(connector(site))
    assert (paths(site, events), complete(events).full) == (["/"], False)
    with pytest.raises(DocumentUnreadable, match="/x"):
        fetched(connector(site), DocumentReference(f"{site.url}/x?v=1"))
    del site.replies["/x"]
    assert paths(site, enumerated(connector(site), complete(events).cursor)) == ["/", "/x?v=1"]


def test_chains_of_copies_end_somewhere() -> None:
    def known(*entries: Entry) -> dict[str, Entry]:
        return {entry.url: entry for entry in entries}

    def page(url: str, original: str = "", found: str = Found.PAGE) -> Entry:
        return Entry(url, found=found, hint="h" if found == Found.PAGE else "", original=original)

    for entries, indexed in (
        ([page("a", "b"), page("b", "c"), page("c")], ""),
        ([page("a", "b"), page("b", "c"), page("c", found=Found.NOTHING)], "b"),
        ([page("a", "b"), page("b", "c")], "b"),
        ([page("a", "b"), page("b", "c"), page("c", found=Found.FAILED)], ""),
        ([page("a", "b"), page("b", "c", Found.NOTHING), page("c", "b")], "c"),
        ([page("c", "a"), page("b", "c"), page("a", "b")], "a"),
        ([page("a", "b"), page("b", "b", Found.NOTHING)], "a"),
        ([page("a", "a")], "a"),
    ):
        copies = [entry for entry in entries if entry.original and entry.found == Found.PAGE]
        assert "".join(one.url for one in copies if is_indexed(one, known(*entries))) == indexed


# -- pages that ask not to be indexed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (["noindex, nofollow"], {"noindex", "nofollow"}),
        (["NoIndex nofollow"], {"noindex", "nofollow"}),
        (["googlebot: noindex"], set()),
        (["googlebot: noindex, nofollow", "noarchive"], {"noarchive"}),
        (["googlebot: noindex, semantikpipeline: nofollow, noarchive"], {"nofollow", "noarchive"}),
        (["SemantikPipeline: none"], {"none"}),
        (["pipeline: noindex"], set()),
        (["*: noindex"], {"noindex"}),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, noindex"], {"unavailable_after:", "noindex"}),
        (["max-snippet:-1, noindex"], {"max-snippet:-1", "noindex"}),
        ([], set()),
    ],
)
def test_what_headers_ask_of_this_crawler(headers: list[str], words: set[str]) -> None:
    told = words_for("SemantikPipeline/2", headers)
    assert words <= told
    assert {"noindex", "nofollow", "none"} & told == {"noindex", "nofollow", "none"} & words


def test_pages_that_ask_not_to_be_indexed_are_skipped_by_name_with_robots_txt_only(site: WebSite) -> None:
    site.page("/", "home", "/meta", "/header", "/other")
    site.page("/meta", "meta", "/linked", head='<meta name="robots" content="noindex">')
    site.page("/header", "header", headers={"X-Robots-Tag": "noindex"})
    site.page("/other", "other", headers={"X-Robots-Tag": "googlebot: noindex"})
    site.page("/linked", "linked", "/far", head='<meta name="SemantikPipeline" content="nofollow">')
    site.page("/far", "far")
    plugin = connector(site)
    events = enumerated(plugin)
    assert complete(events).full and plugin.problems == []
    assert skipped(site, plugin, events) == ["/header", "/meta"]
    assert sorted(site.asked()) == ["/", "/header", "/linked", "/meta", "/other"], "held, like other pages"
    assert skipped(site, connector(site), events) == ["/header", "/meta"], "no longer held"
    again = enumerated(connector(site), complete(events).cursor)
    assert references(again) == references(events)
    every = connector(site, obey_robots=False)
    events = enumerated(every)
    assert sorted(paths(site, events)) == ["/", "/far", "/header", "/linked", "/meta", "/other"]
    assert skipped(site, every, events) == []


def skipped(site: WebSite, plugin: WebConnector, events: list[Event]) -> list[str]:
    found = []
    for reference in references(events):
        try:
            fetched(plugin, reference)
        except SkipDocument as error:
            assert "noindex" in str(error)
            found.append(reference.unique_id.removeprefix(site.url))
    return sorted(found)


def test_a_page_that_may_be_indexed_from_now_on_is_a_change_though_its_text_is_the_same(site: WebSite) -> None:
    site.page("/x?v=1", "told by a header", headers={"X-Robots-Tag": "noindex"}, etag=False)
    before = references(enumerated(connector(site)))
    site.page("/x?v=1", "told by a header", etag=False)
    after = references(enumerated(connector(site)))
    assert [one.unique_id for one in before] == [one.unique_id for one in after]
    assert before[1].change_hint != after[1].change_hint


# -- sitemaps ---------------------------------------------------------------------------------------------------------


def test_what_a_sitemap_lists_elsewhere_is_counted_and_proves_nothing_if_it_is_all(site: WebSite) -> None:
    site.page("/x", "a page")
    elsewhere = ["http://www.example.com/1", "http://www.example.com/2"]

    def listed(*urls: str, exclude: tuple[str, ...] = ()) -> tuple[list[str], bool, list[str]]:
        site.replies["/map.txt"] = Reply(body="\n".join(urls).encode(), media_type="text/plain")
        plugin = connector(site, start_urls=[], sitemaps=[f"{site.url}/map.txt"], exclude=list(exclude))
        events = enumerated(plugin)
        return paths(site, events), complete(events).full, plugin.problems

    found, full, problems = listed(f"{site.url}/x", *elsewhere)
    assert (found, full, len(problems)) == (["/x"], True, 1)
    assert "2 URLs" in problems[0] and elsewhere[0] in problems[0]
    found, full, problems = listed(*elsewhere)
    assert (found, full, len(problems)) == ([], False, 1)
    assert listed(f"{site.url}/x", exclude=("x",)) == ([], True, []), "it was asked for"
    index = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in elsewhere)
    assert listed(f"<sitemapindex>{index}</sitemapindex>")[:2] == ([], False)


# -- naming and fetching ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("/x", None),
        ("/robots/forbidden", DocumentGone),
        ("/excluded", DocumentGone),
        ("/not/included", DocumentGone),
        ("/moved", DocumentGone),
        ("/nowhere", DocumentGone),
        ("/missing", DocumentGone),
        ("/noindex", SkipDocument),
        ("/header", SkipDocument),
        ("/image", SkipDocument),
        ("/x?copy", SkipDocument),
        ("/gone?copy", None),
        ("/broken", DocumentUnreadable),
        ("/forbidden", DocumentUnreadable),
        ("/large", PermanentError),
    ],
)
def test_what_is_named_can_be_fetched_and_nothing_else(site: WebSite, path: str, outcome: type | None) -> None:
    site.page("/", "home", path)
    site.page("/x", "a page")
    site.replies["/robots.txt"] = Reply(body=b"User-agent: *\nDisallow: /robots/\n", media_type="text/plain")
    for plain in ("/robots/forbidden", "/excluded", "/not/included"):
        site.page(plain, "plain")
    site.replies["/moved"], site.replies["/nowhere"] = moved("/x"), Reply(status=302)
    site.page("/noindex", "hidden", head='<meta name="robots" content="noindex">')
    site.page("/header", "hidden", headers={"X-Robots-Tag": "noindex"})
    site.replies["/image"] = Reply(body=b"\x89PNG", media_type="image/png")
    copy_of(site, "/x?copy", "/x")
    copy_of(site, "/gone?copy", "/gone")
    site.replies["/broken"] = Reply(body=b"?", headers={"Content-Encoding": "br"})
    site.replies["/forbidden"] = Reply(status=403, etag=False)
    site.page("/large", "x" * 5000)
    plugin = connector(site, exclude=["excluded"], include=["*", "!not/"], max_bytes=2000)
    named = path in paths(site, enumerated(plugin))
    shown = path == "/large" or path in ("/noindex", "/header")  # named, to be listed with the reason
    assert named == (outcome is None or shown)
    reference = DocumentReference(f"{site.url}{path}")
    if outcome is None:
        assert fetched(plugin, reference).unique_id == reference.unique_id
    else:
        with pytest.raises(outcome):
            fetched(plugin, reference)
