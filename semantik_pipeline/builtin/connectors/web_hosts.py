"""Tracks which hosts of a crawl answer. A few broken pages do not stop the crawl of a host, but an unavailable server
does."""

from __future__ import annotations

from dataclasses import dataclass, field

from semantik_pipeline.builtin.connectors.web_addresses import CANNOT_CONNECT
from semantik_pipeline.builtin.connectors.web_client import WAIT, NotNow, Unreachable, WebClient
from semantik_pipeline.builtin.connectors.web_frontier import Frontier
from semantik_pipeline.builtin.connectors.web_rules import host_of, origin_of

#: Errors of a request that got no response, or only a server error.
NO_ANSWER = (NotNow, Unreachable, *CANNOT_CONNECT)

#: Number of failures in a row after which it is checked whether the host answers at all.
MANY_FAILURES = 4


@dataclass(kw_only=True)
class Hosts:
    """The hosts of one slice of a crawl. An unavailable host gets no more requests until the next slice."""

    client: WebClient
    frontier: Frontier
    _failures: dict[str, int] = field(default_factory=dict)
    _away: set[str] = field(default_factory=set)

    def is_away(self, url: str) -> bool:
        return host_of(url) in self._away

    def is_failing(self, url: str) -> bool:
        """Whether the last request to this host failed."""
        return host_of(url) in self._failures

    def answered(self, url: str) -> None:
        self._failures.pop(host_of(url), None)

    async def failed(self, url: str, error: Exception) -> bool:
        """Count a page without an answer. Returns True if its host counts as unavailable from now on, because it does
        not answer for a page that it answered for before either. Raises ``error`` if no other host is left."""
        host = host_of(url)
        self._failures[host] = self._failures.get(host, 0) + 1
        if self._failures[host] < MANY_FAILURES:
            return False
        if await self._answers(origin_of(url)):
            self.answered(url)
            return False
        frontier = self.frontier
        hosts = {host_of(one) for one in [*frontier.known, *frontier.sitemaps]}
        if not hosts - self._away - {host}:
            raise error
        self._away.add(host)
        return True

    async def _answers(self, origin: str) -> bool:
        """Whether the origin answers now: for its first page that was read in this run, or else for its robots.txt."""
        page = self.frontier.page_of(origin)
        url, validators = (page.url, page.validators) if page else (f"{origin}/robots.txt", None)
        try:
            answer = await self.client.get(url, validators, wanted=lambda media_type: False)
        except NO_ANSWER:
            return False
        return answer.status < 500 and answer.status not in WAIT
