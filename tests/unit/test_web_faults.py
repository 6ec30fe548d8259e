"""What servers get wrong costs a crawl the page it is wrong on, and no more than that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from semantik_pipeline.documents import DocumentReference
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
