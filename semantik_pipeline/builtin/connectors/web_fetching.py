"""Fetches one page for the host, with the same rules as the crawl."""

from __future__ import annotations

from collections.abc import Collection

from semantik_pipeline.builtin.connectors.web_addresses import CANNOT_CONNECT
from semantik_pipeline.builtin.connectors.web_client import Unreachable
from semantik_pipeline.builtin.connectors.web_copies import is_indexed
from semantik_pipeline.builtin.connectors.web_frontier import MAX_HOPS, Entry, Found
from semantik_pipeline.builtin.connectors.web_reading import Answer, Kind, Reader, Reading, note
from semantik_pipeline.errors import (
    CredentialsRejected,
    DocumentGone,
    DocumentUnreadable,
    PermanentError,
    SkipDocument,
    TransientError,
)

_GONE = (Kind.FORBIDDEN, Kind.LINKS, Kind.MOVED, Kind.GONE)
_SKIPPED = (Kind.HIDDEN, Kind.OTHER_TYPE)


async def fetched_page(reader: Reader, url: str, start_urls: Collection[str]) -> tuple[Reading, Answer]:
    """Fetch a page that is a document. Returns the reading and its response.

    Raises DocumentGone if a crawl would not name the page, SkipDocument if it would read the page but index nothing,
    DocumentUnreadable, PermanentError if the page is too large, TransientError if the server asks to wait or fails,
    CredentialsRejected for a start URL, and Unreachable.
    """
    try:
        reading = await reader.read(url)
    except CANNOT_CONNECT as error:
        raise DocumentUnreadable(error.message, error.hint) from error
    answer = reading.answer
    if reading.kind in _GONE or answer is None:
        raise DocumentGone(reading.why)
    if reading.kind in _SKIPPED or (reading.kind is Kind.COPY and not await _is_indexed(reader, reading, url)):
        raise SkipDocument(reading.why)
    if reading.kind in (Kind.NOT_NOW, Kind.FAILING):
        raise TransientError(reading.why, retry_after=answer.retry_after)
    if answer.status == 401 and url in start_urls:
        raise CredentialsRejected(f"{url} refused the credentials (401).", "Check the source's password or token.")
    if reading.kind not in (Kind.DOCUMENT, Kind.COPY):
        raise DocumentUnreadable(
            reading.why, "Allow this source to read it, or exclude the page. Each sync tries it again."
        )
    if answer.cut:
        raise PermanentError(f"{url} has more than {answer.cut:,} bytes.", "Raise max_bytes, or exclude the page.")
    return reading, answer


async def _is_indexed(reader: Reader, reading: Reading, url: str) -> bool:
    """Whether a copy is indexed. Raises DocumentUnreadable while its original cannot be read."""
    last = Entry(url)
    note(last, reading)
    known = {url: last}
    while (target := last.original) and target not in known and len(known) <= MAX_HOPS:
        try:
            reading = await reader.read(target)
        except (Unreachable, *CANNOT_CONNECT, DocumentUnreadable) as error:
            raise DocumentUnreadable(f"{url} is a copy of {target}, which cannot be read: {error}") from error
        last = known[target] = Entry(target)
        note(last, reading)
        if last.found == Found.FAILED:
            raise DocumentUnreadable(f"{url} is a copy of {target}, which cannot be read: {reading.why}")
    return is_indexed(known[url], known)
