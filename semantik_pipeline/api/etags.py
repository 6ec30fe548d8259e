"""ETags of configurations. A caller that sends the ETag it has read does not overwrite another caller's change."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import Header

from semantik_pipeline import configurations
from semantik_pipeline.errors import ChangedMeanwhile, UsageError

IfMatch = Annotated[
    str | None,
    Header(
        max_length=2000,
        description="ETag that you have read, or several. If the configuration has a different one now, nothing is"
        " changed (412). `*` matches any.",
    ),
]

#: A tag in the form of RFC 9110, weak or strong; and a tag without quotes, as people type it.
_QUOTED = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_BARE = re.compile(r"[\w.-]+", re.ASCII)


def quoted(tag: str) -> str:
    """A tag from the core in the form of the header ``ETag``."""
    return f'"{tag}"'


def of(config: Mapping[str, Any]) -> str:
    """The ``ETag`` of a configuration."""
    return quoted(configurations.etag(config))


def wanted(if_match: str | None) -> frozenset[str] | None:
    """The tags in ``If-Match``; None if any tag matches. Tags are compared strongly (RFC 9110, 8.8.3.2), so weak tags
    are left out: they never match. Raises UsageError if the header is not a list of tags."""
    text = (if_match or "").strip(" \t")
    if if_match is None or text == "*":
        return None
    if _BARE.fullmatch(text):
        return frozenset((text,))
    found, rest = set(), text
    while rest:
        tag = _QUOTED.match(rest)
        if tag is None:
            break
        found |= set() if tag[1] else {tag[2]}
        rest = rest[tag.end() :].lstrip(" \t")
        if rest.startswith(","):
            rest = rest.lstrip(", \t")
        elif rest:
            break
    if rest or not text:
        raise UsageError("If-Match is not a list of ETags.", 'Send them as you have read them: `"abc", "def"`, or `*`.')
    return frozenset(found)


def require(if_match: str | None, config: Mapping[str, Any]) -> str | None:
    """The tag of the configuration, which it must still have when it is changed; None if any tag matches. Raises
    ChangedMeanwhile if ``If-Match`` does not contain it."""
    tags, now = wanted(if_match), configurations.etag(config)
    if tags is None:
        return None
    if now not in tags:
        raise ChangedMeanwhile(
            "The configuration has changed since it was read.",
            "Read it again, and apply your change to the current one.",
        )
    return now


def checker(if_match: str | None) -> Callable[[Mapping[str, Any]], None]:
    """A function that raises ChangedMeanwhile for a configuration whose tag is not in ``If-Match``."""
    wanted(if_match)  # raises for an invalid header before anything is looked up

    def check(config: Mapping[str, Any]) -> None:
        require(if_match, config)

    return check
