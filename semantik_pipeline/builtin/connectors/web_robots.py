"""What a site allows a crawler to read, and how fast (robots.txt, RFC 9309), and the directives of its pages."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semantik_pipeline.builtin.connectors.web_addresses import CANNOT_CONNECT
from semantik_pipeline.builtin.connectors.web_rules import host_of, origin_of

if TYPE_CHECKING:
    from semantik_pipeline.builtin.connectors.web_client import Answer, WebClient

#: Maximum bytes of a robots.txt that are read, and redirects that are followed (RFC 9309 requires at least as many).
MAX_BYTES = 512 * 2**10
MAX_REDIRECTS = 5

#: Seconds for which a robots.txt is cached.
FRESH = 3_600.0

#: Maximum Crawl-delay that is respected, in seconds. A slice must make progress.
MAX_DELAY = 60.0

#: The name of a crawler before its directives, and the directives that also have a value after a colon.
_NAME = re.compile(r"[\w*.-]+")
_WITH_VALUE = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")


@dataclass
class Robots:
    """What the sites of a crawl allow. Each robots.txt is read when it is first needed."""

    user_agent: str
    _known: dict[str, tuple[float, Any]] = field(default_factory=dict)

    async def allows(self, url: str, client: WebClient) -> bool:
        """Whether the site allows this URL. Raises NotNow while its robots.txt cannot be read, because everything is
        forbidden until it can be."""
        origin = origin_of(url)
        read_at, rules = self._known.get(origin, (float("-inf"), None))
        if time.monotonic() - read_at > FRESH:
            rules = await self._read(origin, client)
            self._known[origin] = (time.monotonic(), rules)
            delay = rules.crawl_delay(self.user_agent) if rules else None
            client.pace.slower[host_of(url)] = min(delay or 0.0, MAX_DELAY)
        return rules is None or rules.can_fetch(url, self.user_agent)

    async def _read(self, origin: str, client: WebClient) -> Any:
        """The rules of a site; None if it has no robots.txt."""
        from protego import Protego

        url = first = f"{origin}/robots.txt"
        for _ in range(MAX_REDIRECTS + 1):
            try:
                answer = await client.get(url, max_bytes=MAX_BYTES)
            except CANNOT_CONNECT as error:
                if url == first:
                    raise
                raise type(error)(f"{first} redirects to {url}: {error.message}", error.hint) from error
            if answer.target is None:
                break
            url = answer.target
        _refuse_silence(answer)
        return Protego.parse(answer.body.decode("utf-8", "replace")) if answer.status == 200 else None


def _refuse_silence(answer: Answer) -> None:
    """Raise NotNow for a server error. A missing file permits everything, but a server error does not."""
    from semantik_pipeline.builtin.connectors.web_client import NotNow

    if answer.status == 429 or answer.status >= 500:
        raise NotNow(
            f"{answer.url} answered {answer.status}: nothing may be read until it can be.",
            "It is tried again later.",
            answer.retry_after,
        )


def words_for(user_agent: str, headers: Iterable[str]) -> set[str]:
    """The directives for this crawler in X-Robots-Tag headers, in lower case (``noindex``, ``nofollow``, ``none``). A
    name before a colon (``otherbot: noindex``) limits the directives after it to that crawler."""
    words: set[str] = set()
    for header in headers:
        for_us = True
        for part in header.lower().split(","):
            name, colon, said = part.strip().partition(":")
            if colon and _NAME.fullmatch(name) and name not in _WITH_VALUE:
                for_us = is_name_of(user_agent, name)
            else:
                said = part
            words.update(said.split() if for_us else ())
    return words


def is_name_of(user_agent: str, name: str) -> bool:
    """Whether directives for this name (in lower case) are for this crawler. Names match as in robots.txt."""
    return name in ("*", "robots") or re.search(rf"(?<![\w-]){re.escape(name)}", user_agent.lower()) is not None


def may_index(words: set[str]) -> bool:
    return not words & {"noindex", "none"}


def may_follow(words: set[str]) -> bool:
    return not words & {"nofollow", "none"}
