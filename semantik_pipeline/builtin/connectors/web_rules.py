"""The URLs that belong to a web source, and their normal form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from semantik_pipeline.errors import PluginConfigError

#: Maximum length of a URL. Longer ones are more often crawler traps than pages.
MAX_URL = 2_000


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A host (and port), and a prefix of paths on it. ``http`` and ``https`` count as the same host."""

    host: str
    prefix: str

    @classmethod
    def of_start(cls, url: str) -> Scope:
        """What a crawl that starts at this page may visit: the page's folder and everything below it."""
        return cls(host=host_of(url), prefix=urlsplit(url).path.rpartition("/")[0] + "/")

    @classmethod
    def of_sitemap(cls, url: str) -> Scope:
        """What a sitemap may list: its own host."""
        return cls(host=host_of(url), prefix="/")

    def holds(self, url: str) -> bool:
        return host_of(url) == self.host and (urlsplit(url).path or "/").startswith(self.prefix)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """``wanted`` pages become documents; ``excluded`` pages are never requested. Both functions take path and query."""

    scopes: tuple[Scope, ...]
    wanted: Callable[[str], bool]
    excluded: Callable[[str], bool]

    def in_scope(self, url: str) -> bool:
        return any(scope.holds(url) for scope in self.scopes)

    def may_visit(self, url: str) -> bool:
        return self.in_scope(url) and not self.excluded(_place(url))

    def is_document(self, url: str) -> bool:
        return self.wanted(_place(url))


def rules_of(start_urls: list[str], sitemaps: list[str], include: list[str], exclude: list[str]) -> Rules:
    """The rules of a configuration. Patterns are those of .gitignore."""
    scopes = [Scope.of_start(url) for url in start_urls] + [Scope.of_sitemap(url) for url in sitemaps]
    return Rules(
        scopes=tuple(dict.fromkeys(scopes)),
        wanted=_matcher(include) if include else lambda place: True,
        excluded=_matcher(exclude) if exclude else lambda place: False,
    )


def canonical(url: str, base: str = "") -> str | None:
    """The URL in normal form (RFC 3986) without its fragment; None if it cannot be requested.

    The normal form has scheme and host in lower case, no default port, no dot segments, and uniform percent-encoding.
    """
    from url_normalize import url_normalize

    try:
        absolute = urljoin(base, url.strip()) if base else url.strip()
        if urlsplit(absolute).scheme.lower() not in ("http", "https") or len(absolute) > MAX_URL:
            return None
        found = urlsplit(url_normalize(absolute) or "")
        usable = bool(found.hostname) and found.username is None and found.port != 0
    except (ValueError, UnicodeError):
        return None
    plain = found._replace(fragment="").geturl()
    return plain if usable and len(plain) <= MAX_URL else None


def given(url: str) -> str:
    """A URL from the configuration in normal form. Raises PluginConfigError if it cannot be requested."""
    found = canonical(url)
    if found is None:
        raise PluginConfigError(
            f"{url!r} is not a URL that the connector web can read.",
            "Give http:// or https:// and a host, without a user name; credentials have their own options.",
        )
    return found


def host_of(url: str) -> str:
    """Host and port. The ports 80 and 443 are left out."""
    parts = urlsplit(url)
    port = "" if parts.port in (None, 80, 443) else f":{parts.port}"
    return f"{parts.hostname or ''}{port}"


def origin_of(url: str) -> str:
    """Scheme, host and port, to which a robots.txt and credentials apply."""
    parts: SplitResult = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def same_page(one: str, other: str) -> bool:
    """Whether two URLs differ only in their query, a trailing slash, or http and https."""
    return host_of(one) == host_of(other) and urlsplit(one).path.rstrip("/") == urlsplit(other).path.rstrip("/")


def _place(url: str) -> str:
    parts = urlsplit(url)
    # The root page has no name that a pattern could match. "." stands for it, which only "*" matches.
    return (parts.path.lstrip("/") or ".") + (f"?{parts.query}" if parts.query else "")


def _matcher(patterns: list[str]) -> Callable[[str], bool]:
    import pathspec

    return pathspec.PathSpec.from_lines("gitignore", patterns).match_file
