"""ETags of configurations: who changes one says which state it means to change, and overwrites nobody else's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import Header

from semantik_pipeline import configurations
from semantik_pipeline.errors import ChangedMeanwhile

IfMatch = Annotated[
    str | None,
    Header(max_length=200, description="The ETag that was read; if it is another one now, nothing is changed (412)."),
]


def quoted(tag: str) -> str:
    """A tag of the core's as the header ``ETag`` has it."""
    return f'"{tag}"'


def of(config: Mapping[str, Any]) -> str:
    """The ``ETag`` of a configuration."""
    return quoted(configurations.etag(config))


def wanted(if_match: str | None) -> str | None:
    """The tag that ``If-Match`` asks for; None if any will do."""
    if if_match is None or if_match.strip() == "*":
        return None
    return if_match.strip().removeprefix("W/").strip('"')


def checker(if_match: str | None) -> Callable[[Mapping[str, Any]], None] | None:
    """What raises ChangedMeanwhile for a configuration that is not the wanted one; None if any will do."""
    tag = wanted(if_match)
    if tag is None:
        return None

    def check(config: Mapping[str, Any]) -> None:
        if configurations.etag(config) != tag:
            raise ChangedMeanwhile("It was changed since it was read.", "Read it again, and change what it is now.")

    return check
