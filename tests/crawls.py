"""Crawls of a local test site, for the tests of the connector `web`."""

from __future__ import annotations

from semantik_pipeline.builtin.connectors.web import WebConnector
from semantik_pipeline.documents import Complete
from semantik_pipeline.testing.connectors import Event, references
from semantik_pipeline.testing.web_site import WebSite


def connector(site: WebSite, **options: object) -> WebConnector:
    quick = {"start_urls": [site.url], "allow_private": True, "requests_per_second": 1000, "timeout": 5}
    return WebConnector({**quick, **options})


def paths(site: WebSite, events: list[Event]) -> list[str]:
    """Return the paths of the documents that a crawl listed, in order."""
    return [one.unique_id.removeprefix(site.url) for one in references(events)]


def complete(events: list[Event]) -> Complete:
    assert isinstance(events[-1], Complete)
    return events[-1]
