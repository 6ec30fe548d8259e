"""ETags of configurations: who changes one says which state it means to change, and overwrites nobody else's."""

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
        description="ETag that was read, or several; if the configuration has another one now, nothing is changed (412). `*`: any.",
    ),
]

#: A tag as RFC 9110 writes it, weak or not; and one without its quotes, as people type it.
_QUOTED = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_BARE = re.compile(r"[\w.-]+", re.ASCII)


def quoted(tag: str) -> str:
    """A tag of the core's as the header ``ETag`` has it."""
    return f'"{tag}"'


def of(config: Mapping[str, Any]) -> str:
    """The ``ETag`` of a configuration."""
    return quoted(configurations.etag(config))


def wanted(if_match: str | None) -> frozenset[str] | None:
    """The tags of which ``If-Match`` asks for one; None if any will do. Tags are compared strongly (RFC 9110, 8.8.3.2),
    so weak ones are left out: they match nothing. Raises UsageError for what is no list of tags."""
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
        raise UsageError("If-Match is no list of ETags.", 'Write them as they were read: `"abc", "def"`, or `*`.')
    return frozenset(found)


def require(if_match: str | None, config: Mapping[str, Any]) -> str | None:
    """The tag of the configuration, which it must have still when it is changed; None if any will do. Raises
    ChangedMeanwhile if it is none of the wanted ones."""
    tags, now = wanted(if_match), configurations.etag(config)
    if tags is None:
        return None
    if now not in tags:
        raise ChangedMeanwhile("It was changed since it was read.", "Read it again, and change what it is now.")
    return now


def checker(if_match: str | None) -> Callable[[Mapping[str, Any]], None]:
    """What raises ChangedMeanwhile for a configuration that is none of the wanted ones."""
    wanted(if_match)  # refused before anything is looked up

    def check(config: Mapping[str, Any]) -> None:
        require(if_match, config)

    return check
