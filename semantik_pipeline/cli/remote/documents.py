"""``semantik documents`` on a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.document_views import show_changed, show_documents, show_list
from semantik_pipeline.cli.documents import LISTED
from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.remote.following import followed
from semantik_pipeline.cli.remote.trashed import trashed
from semantik_pipeline.cli.wording import local_path, place
from semantik_pipeline.errors import NotFound, UsageError

if TYPE_CHECKING:
    from semantik_pipeline.client import Client

#: Fields of a document in a list.
FIELDS = (
    "id",
    "document",
    "collection",
    "source",
    "status",
    "chunks",
    "revision",
    "media_type",
    "size",
    "title",
    "changed_at",
    "reason",
)

#: Maximum number of documents in a request that changes documents, and of entries in a page.
MOST, PAGE = 1000, 500


def list_(call: Invocation, client: Client, *, collection: str | None, status: str | None, limit: int | None) -> int:
    limit = limit or (None if call.output.as_json else LISTED)
    if collection is not None:
        client.collections.show(collection)  # raises if there is no such collection
    rows = client.documents.each(collection=collection, status=status, limit=min(limit or PAGE, PAGE))
    found = sorted((_row(row) for row in islice(rows, limit)), key=lambda row: row["document"])
    call.output.give({"documents": found}, lambda console: show_list(console, found, limit))
    return 0


def show(call: Invocation, client: Client, *, uri: str, collection: str | None) -> int:
    found = [_whole(client, row) for row in named(client, [uri], collection)]
    answer = {**found[0], "others": found[1:]}
    call.output.give(answer, lambda console: show_documents(console, found, tracebacks=call.verbose))
    return 0


def retry(call: Invocation, client: Client, *, uris: list[str] | None, collection: str | None) -> int:
    if uris:
        rows = named(client, uris, collection)
    else:
        if collection is not None:
            client.collections.show(collection)
        rows = [*client.documents.each(collection=collection, status="quarantined", limit=PAGE)]

    def begin(collection: str, mine: list[Any]) -> list[Any]:
        return [
            client.documents.retry_many([row["document"] for row in part], collection=collection)
            for part in _parts(mine)
        ]

    return _change(call, client, rows, begin, "retried")


def drop(call: Invocation, client: Client, *, uris: list[str] | None, collection: str | None, purge: bool) -> int:
    if not uris:
        raise UsageError("No document is named.", "`semantik documents list` shows the names.")

    def begin(collection: str, mine: list[Any]) -> list[Any]:
        return [
            client.documents.delete_many([row["document"] for row in part], collection=collection, purge=purge)
            for part in _parts(mine)
        ]

    return _change(call, client, named(client, uris, collection), begin, "dropped")


def restore(call: Invocation, client: Client, *, uris: list[str] | None, collection: str | None) -> int:
    if not uris:
        raise UsageError("No document is named.", "`semantik trash` lists what you can restore.")
    if collection is not None:
        client.collections.show(collection)  # raises if there is no such collection
    there = trashed(client, collection=collection)["documents"]
    rows: list[Any] = []
    for uri in uris:
        found = _matching(there, uri)
        if not found:
            raise NotFound(f"There is no document {uri!r} in the trash.", "`semantik trash` lists its contents.")
        rows += _only(uri, found)
    return _change(
        call, client, rows, lambda _, mine: [client.documents.restore(row["id"]) for row in mine], "restored"
    )


def named(client: Client, names: Sequence[str], collection: str | None) -> list[dict[str, Any]]:
    """Return the documents with these unique ids, paths, or ends of paths.

    Raises NotFound for an unknown name, and UsageError for a path suffix that several documents share.
    """
    if collection is not None:
        client.collections.show(collection)
    rows = []
    for name in names:
        found: list[Any] = [*client.documents.each(collection=collection, document=name)]
        if not found:
            found = _matching([*client.documents.each(collection=collection, name=name, limit=PAGE)], name)
        if not found:
            raise NotFound(f"There is no document {name!r}.", "`semantik documents list` shows the names.")
        rows += _only(name, found)
    return rows


def _only(name: str, found: list[Any]) -> list[Any]:
    """Return ``found``. Raises UsageError if ``name`` is a path suffix that several documents share."""
    ids = sorted({row["document"] for row in found})
    if len(ids) > 1:
        some = ", ".join(place(one) for one in ids[:5])
        raise UsageError(f"{name!r} matches {len(ids)} documents: {some}.", "Give the full path of one of them.")
    return found


def _matching(rows: list[Any], name: str) -> list[Any]:
    """Return the rows with this unique id or path, or else those whose id or path ends with ``/name``."""

    def is_it(row: Any, fits: Callable[[str], bool]) -> bool:
        return any(fits(text) for text in (row["document"], local_path(row["document"])) if text)

    exact = [row for row in rows if is_it(row, lambda text: text == name)]
    return exact or [row for row in rows if is_it(row, lambda text: text.endswith(f"/{name}"))]


def _row(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in FIELDS}


def _whole(client: Client, row: Any) -> dict[str, Any]:
    """Return everything about a document. Only the active generation gets the chunks."""
    found = client.documents.show(row["id"])
    active = client.collections.show(row["collection"])["active_generation"]
    chunks = [*client.documents.each_chunk(row["id"], limit=PAGE)]
    ways = [{**way, "chunks": chunks if way["generation_id"] == active else []} for way in found["generations"]]
    more = {"content_hash": found["content_hash"], "metadata": found["metadata"], "deleted_at": found["deleted_at"]}
    return {**_row(row), **more, "generations": ways}


def _parts(rows: list[Any]) -> list[list[Any]]:
    return [rows[at : at + MOST] for at in range(0, len(rows), MOST)]


def _change(
    call: Invocation, client: Client, chosen: list[Any], begin: Callable[[str, list[Any]], list[Any]], done: str
) -> int:
    """Run operations on the chosen documents, collection by collection, and print each document's status afterwards."""
    names = []
    for collection in sorted({row["collection"] for row in chosen}):
        begun = begin(collection, [row for row in chosen if row["collection"] == collection])
        names += [followed(call, client, one["operation"])["operation"] for one in begun]
    ids = dict.fromkeys(row["id"] for row in chosen)
    documents = [_row(row) for row in _again(client, ids)]
    failed = any(row["status"] == "quarantined" for row in documents)
    outcome = "degraded" if failed else "succeeded"
    answer = {"operations": names, "outcome": outcome, done: len(documents), "documents": documents}
    call.output.give(answer, lambda console: show_changed(console, done, documents))
    return 3 if failed else 0


def _again(client: Client, ids: Sequence[int] | dict[int, None]) -> list[Any]:
    """Fetch these documents again. Documents that no longer exist are left out."""
    found = []
    for number in ids:
        try:
            found.append(client.documents.show(number))
        except NotFound:
            continue
    return found
