"""The files of a path for a server on another host, which can't read them: they are read here, by the connector that
would read them there, and given in batches.

Each path has a push source of its own there, so that what vanished from the path can be deleted, and nothing else.
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

#: Documents and bytes of one request, at most; a document that is larger goes alone.
DOCUMENTS, BYTES = 200, 16_000_000

KINDS = ("seen", "new", "changed", "unchanged", "skipped", "deleted", "quarantined")


class Reader:
    """What a connector names and fetches, one after the other. ``full``: it named everything there is; ``unread`` is what
    could not be fetched, which has not vanished."""

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
                raise  # no document is to blame
            except (PermanentError, TransientError, OSError) as error:  # it harms nobody else
                self.unread.append(one.unique_id)
                self.problems.append(f"{one.unique_id}: {getattr(error, 'strerror', None) or error}")
        missing = [*getattr(self._connector, "problems", ())]
        self.problems, self.full = [*missing, *self.problems], self.full and not missing


@contextmanager
def reading(settings: Settings, asked: SourceRequest) -> Iterator[Reader]:
    """A reader of the connector as this machine's plugin state file has it: a disabled one is never imported."""
    from semantik_pipeline.plugins.host import PluginHost

    with (
        closing(PluginHost.start(settings.state_file, kinds=("connector",))) as host,
        host.for_once(asked.connector, dict(asked.config), kind="connector") as connector,
    ):
        yield Reader(host, connector)


def upload(
    call: Invocation, client: Client, asked: SourceRequest, collection: str, *, allow_deletions: bool
) -> dict[str, Any]:
    """Give what the path has, delete what it no longer has, wait for both; returns what came of it."""
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
    """What came of the operations together, and of what was not given."""
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
    """What the push source of a path is called there: this host and the path."""
    from socket import gethostname

    name = f"{gethostname()}:{asked.name}"
    return name if len(name) <= 200 else f"{name[:160]}… {short_hash(name)}"


def batches(documents: Iterator[IngestedDocument]) -> Iterator[list[IngestedDocument]]:
    """Documents in the order in which they come, as many together as a request takes."""
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
        name = str(number)  # the id is told beside it: it may be what no file can be called
        files.append(Upload(name=name, content=one.body, media_type=one.media_type or "application/octet-stream"))
        about[name] = {"document": one.unique_id, "metadata": one.metadata}
        if one.media_type is not None:
            about[name]["media_type"] = one.media_type
    return client.documents.upload(files, collection=collection, source=source, attributes=about)


def _known(client: Client, collection: str, source: str) -> set[int]:
    """The push source of this name, if documents were given to it before. The collection is made if there is none."""
    if all(row["name"] != collection for row in client.collections.each()):
        client.collections.create(collection)
        return set()
    rows = client.sources.each(collection=collection)
    return {row["id"] for row in rows if (row["connector"], row["name"]) == ("push", source)}


def _vanished(client: Client, sources: set[int], named: set[str]) -> list[str]:
    rows = (row for number in sources for row in client.documents.each(source=number, limit=500))
    return [row["document"] for row in rows if row["document"] not in named]


def _delete(client: Client, collection: str, gone: list[str], kept: int, guard: Sync | None) -> list[str]:
    """Begin to delete what vanished. Raises UsageError where that is more than the guard allows (None: all is)."""
    if guard and len(gone) > guard.deletion_guard_count and len(gone) > guard.deletion_guard_share * (kept + len(gone)):
        raise UsageError(
            f"{len(gone):,} documents, most of what was uploaded from there, have disappeared. Nothing was deleted.",
            "If that is right, add --allow-deletions.",
        )
    parts = [gone[at : at + 1000] for at in range(0, len(gone), 1000)]
    return [client.documents.delete_many(part, collection=collection)["operation"] for part in parts]
