"""``file://`` URIs of paths, exact to the byte, and the readable form of paths."""

from __future__ import annotations

import os
from urllib.parse import quote, unquote_to_bytes


def uri_of(path: str) -> str:
    """``file://`` and the absolute path, with every byte outside the URI alphabet percent-encoded."""
    return "file://" + quoted(path)


def path_of(uri: str) -> str:
    """The inverse of :func:`uri_of`."""
    return unquoted(uri.removeprefix("file://"))


def quoted(path: str) -> str:
    """A path as printable ASCII, whatever bytes its names contain (line ends, invalid UTF-8)."""
    return quote(os.fsencode(path))


def unquoted(text: str) -> str:
    """The inverse of :func:`quoted`."""
    return os.fsdecode(unquote_to_bytes(text))


def readable(path: str) -> str:
    """A path for people and for JSON: bytes that are not valid UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")
