"""Uploads the files of a path to a server on another host.

The server can't read the path. This process reads it, with the connector that the server would use, and uploads the
documents in batches. Each path has its own push source on the server, so that documents that vanished from this path
can be deleted, and no others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.remote.following import followed
from semantik_pipeline.cli.wording import counted
from semantik_pipeline.documents import Complete, DocumentReference, IngestedDocument, short_hash
from semantik_pipeline.errors import (
    CredentialsRejected,
    DocumentGone,
    PermanentError,
    ServiceUnavailable,
    SkipDocument,
    TransientError,
    UsageError,
)

if TYPE_CHECKING:
    from semantik_pipeline.client import Client
    from semantik_pipeline.contracts.connector import ConnectorPlugin
    from semantik_pipeline.operations import SourceRequest
    from semantik_pipeline.plugins.host import PluginHost
    from semantik_pipeline.settings import Settings, Sync

#: Maximum number of documents and bytes per request. A larger document is sent alone.
DOCUMENTS, BYTES = 200, 16_000_000

KINDS = ("seen", "new", "changed", "unchanged", "skipped", "deleted", "quarantined")


class Reader:
    """Reads the documents of a connector, one after the other.

    ``full``: the connector listed everything that exists. ``unread``: documents that could not be fetched; they still
    exist at the source, so they must not be deleted.
    """

    def __init__(self, host: PluginHost, connector: ConnectorPlugin) -> None:
        self._host = host
        self._connector = connector
        self.full = False
        self.problems: list[str] = []
        self.skipped: list[str] = []
        self.unread: list[str] = []

    def documents(self) -> Iterator[IngestedDocument]:
        for one in self._host.iterate(self._connector.enumerate()):
            if isinstance(one, Complete):
                self.full = one.full
            if not isinstance(one, DocumentReference):
                continue
            try:
                yield self._host.call(self._connector.fetch, one)
            except SkipDocument:
                self.skipped.append(one.unique_id)
            except DocumentGone:
                continue
            except (CredentialsRejected, ServiceUnavailable):
                raise  # not the fault of one document
            except (PermanentError, TransientError, OSError) as error:  # affects only this document
                self.unread.append(one.unique_id)
                self.problems.append(f"{one.unique_id}: {getattr(error, 'strerror', None) or error}")
        missing = [*getattr(self._connector, "problems", ())]
        self.problems, self.full = [*missing, *self.problems], self.full and not missing


@contextmanager
def reading(settings: Settings, asked: SourceRequest) -> Iterator[Reader]:
    """Yield a reader for a connector, by this host's plugin state file. A disabled connector is never imported."""
    from semantik_pipeline.plugins.host import PluginHost

    with (
        closing(PluginHost.start(settings.state_file, kinds=("connector",))) as host,
        host.for_once(asked.connector, dict(asked.config), kind="connector") as connector,
    ):
        yield Reader(host, connector)


def upload(
    call: Invocation, client: Client, asked: SourceRequest, collection: str, *, allow_deletions: bool
) -> dict[str, Any]:
    """Upload the documents of the path, delete those that vanished from it, wait for both, and return the result."""
    settings = call.settings()
    began, last = monotonic(), monotonic()
    source = source_of(asked)
    given: set[str] = set()
    begun: list[str] = []
    numbers: set[int] = set()
    with reading(settings, asked) as reader:
        known = _known(client, collection, source)
        for batch in batches(reader.documents()):
            pushed = _give(client, batch, collection, source)
            given |= {one["document"] for one in pushed["documents"]}
            begun.append(pushed["operation"])
            numbers.add(pushed["source_id"])
            if monotonic() - last > 2.0:
                last = monotonic()
                print(f"{counted(len(given), 'document')} uploaded", file=sys.stderr, flush=True)
    if reader.full:
        numbers |= known
        gone = _vanished(client, numbers, given | {*reader.skipped, *reader.unread})
        begun += _delete(client, collection, gone, len(given), None if allow_deletions else settings.sync)
    ended = [followed(call, client, operation) for operation in begun]
    return {**_sums(ended, reader, began), "operation": ", ".join(begun), "sources": numbers}


def _sums(ended: list[dict[str, Any]], reader: Reader, began: float) -> dict[str, Any]:
    """Combine the results of the operations with the skipped and unread documents."""
    documents = _sum(ended, "documents", KINDS)
    chunks = _sum(ended, "chunks", ("total", "embedded", "reused"))
    documents["skipped"] += len(reader.skipped)
    documents["seen"] += len(reader.skipped)
    outcomes = [one["outcome"] for one in ended] + (["degraded"] if reader.problems else [])
    seconds, unread = round(monotonic() - began, 2), len(reader.unread)
    result = {"documents": documents, "chunks": chunks, "seconds": seconds, "unread": unread}
    return {
        "outcome": next((one for one in ("failed", "cancelled", "degraded") if one in outcomes), "succeeded"),
        "result": {**result, "errors": [line for one in ended for line in (one["result"] or {}).get("errors", [])]},
        "problems": reader.problems,
    }


def _sum(ended: list[dict[str, Any]], part: str, names: tuple[str, ...]) -> dict[str, int]:
    found = [(one["result"] or {}).get(part, {}) for one in ended]
    return {name: sum(one.get(name, 0) for one in found) for name in names}


def source_of(asked: SourceRequest) -> str:
    """Return the name of the path's push source: this host's name and the path."""
    from socket import gethostname

    name = f"{gethostname()}:{asked.name}"
    return name if len(name) <= 200 else f"{name[:160]}… {short_hash(name)}"


def batches(documents: Iterator[IngestedDocument]) -> Iterator[list[IngestedDocument]]:
    """Group documents into batches for one request each, in their order."""
    batch: list[IngestedDocument] = []
    size = 0
    for one in documents:
        if batch and (len(batch) == DOCUMENTS or size + len(one.body) > BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += len(one.body)
    if batch:
        yield batch


def _give(client: Client, batch: list[IngestedDocument], collection: str, source: str) -> Any:
    from semantik_pipeline.client import Upload

    files, about = [], {}
    for number, one in enumerate(batch):
        name = str(number)  # the id is sent separately, since it may not be a valid file name
        files.append(Upload(name=name, content=one.body, media_type=one.media_type or "application/octet-stream"))
        about[name] = {"document": one.unique_id, "metadata": one.metadata}
        if one.media_type is not None:
            about[name]["media_type"] = one.media_type
    return client.documents.upload(files, collection=collection, source=source, attributes=about)


def _known(client: Client, collection: str, source: str) -> set[int]:
    """Return the ids of the push source with this name (one or none). Creates the collection if it does not exist."""
    if all(row["name"] != collection for row in client.collections.each()):
        client.collections.create(collection)
        return set()
    rows = client.sources.each(collection=collection)
    return {row["id"] for row in rows if (row["connector"], row["name"]) == ("push", source)}


def _vanished(client: Client, sources: set[int], named: set[str]) -> list[str]:
    rows = (row for number in sources for row in client.documents.each(source=number, limit=500))
    return [row["document"] for row in rows if row["document"] not in named]


def _delete(client: Client, collection: str, gone: list[str], kept: int, guard: Sync | None) -> list[str]:
    """Start deleting documents that vanished. Returns the operations' names.

    Raises UsageError if there are more than ``guard`` allows. None means no limit.
    """
    if guard and len(gone) > guard.deletion_guard_count and len(gone) > guard.deletion_guard_share * (kept + len(gone)):
        raise UsageError(
            f"{len(gone):,} documents, most of what was uploaded from there, have disappeared. Nothing was deleted.",
            "If that is right, add --allow-deletions.",
        )
    parts = [gone[at : at + 1000] for at in range(0, len(gone), 1000)]
    return [client.documents.delete_many(part, collection=collection)["operation"] for part in parts]
