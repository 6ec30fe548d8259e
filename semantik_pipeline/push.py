"""Push: documents that callers send, as files or texts in bulk, without a connector that reads a source.

They are processed like those of a sync: bodies go to the blobs, revisions into the ledger, where the stages find them.
Sending an unchanged document again costs nothing. A push is accepted completely or not at all.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from semantik_pipeline.concurrency import map_in_order
from semantik_pipeline.documents import IngestedDocument
from semantik_pipeline.errors import Conflict, Forbidden, PluginError, TransientError, UsageError
from semantik_pipeline.isolation import isolated
from semantik_pipeline.ledger import Transaction
from semantik_pipeline.ledger.access import audit_trail, document_access
from semantik_pipeline.ledger.catalog import collections
from semantik_pipeline.ledger.ingestion import pushed_documents, revisions
from semantik_pipeline.ledger.ingestion import sync as ledger
from semantik_pipeline.ledger.ingestion.sync import Arrival, Known
from semantik_pipeline.ledger.operations import holds, lifecycle
from semantik_pipeline.ledger.queue import fair_queue
from semantik_pipeline.stages.arrivals import arrival_of, redescribed, same_content
from semantik_pipeline.stages.fetching import BYTES
from semantik_pipeline.stages.parsing import storable

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: The connector id of sources that accept pushes, and the name of a collection's default push source.
CONNECTOR = "push"
SOURCE = "push"

#: Maximum number of documents in one push, the amount for one short transaction. Send more in several pushes.
MOST = 1000

#: Maximum length of a unique id in characters.
LONGEST_ID = 2000

#: A valid media type, without its parameters.
MEDIA_TYPE = re.compile(r"[A-Za-z0-9_.+-]+/[A-Za-z0-9_.+-]+")

#: A source refuses pushes while this many times ``work.max_in_flight`` of its units are in progress; and the seconds
#: after which a caller should try again.
PENDING, AGAIN = 10, 10.0


@dataclass(frozen=True, kw_only=True)
class Given:
    """A document that a caller sends. ``unique_id`` identifies it within its source and must never change.

    ``content`` is text, or a file's bytes. Without ``media_type``, the type is detected from content and
    ``file_name``. ``title`` is used only if the parser finds none. ``principals`` may find the document (None: those
    of the source).
    """

    unique_id: str
    content: str | bytes
    file_name: str | None = None
    media_type: str | None = None
    title: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    principals: list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Taken:
    """One document of a push: its id in the ledger, and whether it is ``new``, ``changed`` or ``unchanged``."""

    unique_id: str
    document_id: int
    outcome: str


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """The result of a push: an operation, which ends when its documents are indexed, and each document's outcome."""

    operation_id: int
    source_id: int
    documents: list[Taken]


def push(
    runtime: Runtime,
    documents: Iterable[Given],
    *,
    collection: str,
    source: str = SOURCE,
    principals: Collection[str] | None = None,
) -> Pushed:
    """Push documents into a source of the collection; the source is created if it does not exist.

    ``principals`` are the caller's (None: it sees all documents). Its documents are open to all of them, or to those
    that a document names. Documents that the caller may not see are not changed, and documents that are also open to
    others stay open to them.

    Bodies are read one by one. Raises UsageError for an unknown collection, no document, more than MOST
    documents, a repeated unique id, an invalid media type, and a source that is paused or deleted; Forbidden for
    principals that are not the caller's; Conflict if a unique id belongs to a document that the caller may not see;
    TransientError if too many documents of the source are in progress.
    """
    began = time.time()
    with runtime.ledger.read() as tx:
        collections.get_collection(tx, collection)
    arrivals = _stored(runtime, documents if principals is None else _closed(documents, principals))
    with runtime.ledger.write() as tx:
        found = collections.get_collection(tx, collection)
        place = pushed_documents.open_source(tx, found.id, CONNECTOR, source)
        _refuse_crowd(runtime, tx, place["id"], f"{collection}: {source}")
        before = ledger.known(tx, place["id"], list(arrivals))
        if principals is not None:
            arrivals = _open_as_before(tx, arrivals, before, principals)
        operation_id = lifecycle.begin(tx, found.id, "push")
        claim = pushed_documents.claim_of(place, operation_id)
        changed = _changed(runtime, tx, arrivals, before)
        revisions.arrive(tx, claim, changed, before)
        if changed:
            fair_queue.hasten(tx, claim.source_id)
        taken = _outcomes(tx, claim.source_id, operation_id, arrivals, changed, before)
        audit_trail.record(
            tx,
            event="document.push",
            subject=f"{collection}: {source}",
            detail={"source": claim.source_id, "operation": operation_id, **_counted(taken)},
        )
    runtime.journal.arrived(claim, changed, before, began)
    if changed:
        runtime.ring("chunk")
        runtime.ring("upsert")
    else:
        with isolated(runtime, "operations", f"operation {operation_id}"), runtime.ledger.write() as tx:
            lifecycle.settle(tx, operation_id)
    return Pushed(operation_id=operation_id, source_id=claim.source_id, documents=taken)


def _closed(documents: Iterable[Given], principals: Collection[str]) -> Iterator[Given]:
    """Yield the documents, restricted to principals of the caller."""
    for one in documents:
        names = sorted({*(principals if one.principals is None else one.principals)})
        if not names or not set(names) <= {*principals}:
            raise Forbidden(
                "A caller with principals can give documents to its own principals only, and to at least one of them.",
                "Name some of the caller's principals, or none at all.",
            )
        yield replace(one, principals=names)


def _refuse_crowd(runtime: Runtime, tx: Transaction, source_id: int, name: str) -> None:
    """Raise TransientError if too much is in progress: work in flight is bounded for each source, whoever pushes."""
    if ledger.crowded(tx, source_id, PENDING * runtime.settings.work.max_in_flight):
        raise TransientError(
            f"Too many documents of {name} are in progress.",
            "Send more once some of them are indexed.",
            retry_after=AGAIN,
        )


def _open_as_before(
    tx: Transaction, arrivals: dict[str, Arrival], before: dict[str, Known], principals: Collection[str]
) -> dict[str, Arrival]:
    """Return the arrivals; a document that others may find too keeps its principals, so that they do not lose access.

    Raises Conflict if a unique id belongs to a document that is hidden from the caller. The caller can neither change
    that document nor learn its content.
    """
    ids = {known.document_id for known in before.values()}
    there = document_access.openness(tx, ids)
    if not there.keys() <= document_access.open_ones(tx, ids, principals):
        raise Conflict("Some of these unique ids can't be used here.", "Use other unique ids, or another source.")
    own = {
        name: there[known.document_id].own
        for name, known in before.items()
        if known.document_id in there and there[known.document_id].wider_than(principals)
    }
    return {name: replace(one, principals=own[name]) if name in own else one for name, one in arrivals.items()}


def _stored(runtime: Runtime, documents: Iterable[Given]) -> dict[str, Arrival]:
    """Store the documents' bodies in the blobs and return the arrivals by unique id."""
    connector: Any = runtime.host.instance(CONNECTOR, {}, kind="connector")
    if not hasattr(connector, "receive"):
        raise PluginError(
            f"The connector {CONNECTOR!r} that is loaded here does not accept documents.",
            "Remove the plugin that replaces the built-in one.",
        )

    def store(received: tuple[IngestedDocument, Arrival]) -> None:
        runtime.blobs.put_raw(received[0].content_hash, received[0].body)

    received = _received(connector, documents)
    stored = map_in_order(store, received, threads=runtime.blobs.concurrency, size=_size, limit=BYTES)
    arrivals = {arrival.unique_id: arrival for (_, arrival), _ in stored}
    if not arrivals:
        raise UsageError("No document is given.", "Give at least one.")
    return arrivals


def _size(received: tuple[IngestedDocument, Arrival]) -> int:
    return received[1].size or 0


def _received(connector: Any, documents: Iterable[Given]) -> Iterator[tuple[IngestedDocument, Arrival]]:
    """Yield the documents of a push, each with its arrival. Raises UsageError for one that is not valid."""
    names: set[str] = set()
    for one in documents:
        name = _name_of(one)
        if name in names:
            raise UsageError(f"Two documents have the unique id {name!r}.", "Give each document its own.")
        if len(names) == MOST:
            raise UsageError(f"A push has at most {MOST:,} documents.", "Send the others in another push.")
        names.add(name)
        kind = (one.media_type or "").partition(";")[0].strip()
        if kind and not MEDIA_TYPE.fullmatch(kind):
            raise UsageError(f"{kind[:80]!r} is not a media type.", "Give a media type such as text/markdown, or none.")
        document = connector.receive(
            storable(one.content) if isinstance(one.content, str) else one.content,
            name,
            file_name=one.file_name,
            media_type=one.media_type,
            metadata={**one.metadata, **({"title": one.title} if one.title else {})},
            principals=one.principals,
        ).check()
        yield document, arrival_of(name, document, None)


def _name_of(one: Given) -> str:
    name = storable(one.unique_id)
    if not name.strip():
        raise UsageError("A document has no unique id.", "Give it an id that never changes.")
    if len(name) > LONGEST_ID:
        raise UsageError(
            f"A unique id has {len(name):,} characters; the maximum is {LONGEST_ID:,}.", "Give a shorter one."
        )
    return name


def _changed(
    runtime: Runtime, tx: Transaction, arrivals: dict[str, Arrival], before: dict[str, Known]
) -> list[Arrival]:
    """Return the arrivals that are new, or whose content or description differs from the ledger's."""
    registry = runtime.host.registry
    pairs = [(before[name], arrival) for name, arrival in arrivals.items() if name in before]
    same = [(known, arrival) for known, arrival in pairs if same_content(registry, known, arrival)]
    unchanged = {arrival.unique_id for _, arrival in same} - redescribed(tx, same)
    return [arrival for name, arrival in arrivals.items() if name not in unchanged]


def _outcomes(
    tx: Transaction,
    source_id: int,
    operation_id: int,
    arrivals: dict[str, Arrival],
    changed: list[Arrival],
    before: dict[str, Known],
) -> list[Taken]:
    """Return the outcome of each document, in the given order.

    Unchanged documents become items of the operation too: they may still be in progress, or parked, and then continue.
    """
    touched = {arrival.unique_id for arrival in changed}
    identities = pushed_documents.document_ids(tx, source_id, list(arrivals))
    unchanged = [identities[name] for name in arrivals if name not in touched]
    lifecycle.note_items(tx, operation_id, [(identity, "unchanged", revision) for identity, revision in unchanged])
    holds.take_up(tx, source_id, asked=True, document_ids=[identity for identity, _ in unchanged])
    fresh = {name for name in touched if name not in before or before[name].deleted}
    return [
        Taken(
            unique_id=name,
            document_id=identities[name][0],
            outcome="new" if name in fresh else "changed" if name in touched else "unchanged",
        )
        for name in arrivals
    ]


def _counted(taken: list[Taken]) -> dict[str, int]:
    return {kind: sum(1 for one in taken if one.outcome == kind) for kind in ("new", "changed", "unchanged")}
