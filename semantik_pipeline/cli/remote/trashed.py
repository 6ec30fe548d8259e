"""Reads all pages of a server's trash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semantik_pipeline.client import Client

#: Number of entries per page.
PAGE = 500

KINDS = ("collections", "sources", "documents")


def trashed(client: Client, *, collection: str | None = None, documents: int | None = None) -> dict[str, Any]:
    """Return the trash: ``retention_days``, ``collections``, ``sources`` and ``documents``.

    ``collection`` limits the result to one collection; ``documents`` is the maximum number of documents.
    """
    found: dict[str, Any] = {kind: [] for kind in KINDS}
    cursor: str | None = None
    while True:
        page: Any = client.trash(collection=collection, limit=PAGE, cursor=cursor)
        for kind in KINDS:
            found[kind] += page[kind]
        cursor = page["next_cursor"]
        enough = documents is not None and page["documents"] and len(found["documents"]) >= documents
        if cursor is None or enough:
            return {**found, "documents": found["documents"][:documents], "retention_days": page["retention_days"]}
