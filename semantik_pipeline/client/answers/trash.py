"""What was deleted and can be restored."""

from __future__ import annotations

from typing import TypedDict


class TrashedCollection(TypedDict):
    """A collection in the trash. ``purged_at``: when it goes; None: it is on its way out."""

    id: int
    name: str
    documents: int
    trashed_at: float
    purged_at: float | None


class TrashedSource(TrashedCollection):
    """A source in the trash."""

    connector: str
    collection: str


class TrashedDocument(TypedDict):
    """A document in the trash."""

    id: int
    document: str
    collection: str
    trashed_at: float
    purged_at: float | None


class TrashList(TypedDict):
    """A page of what was deleted and can be restored: collections, then sources, then documents."""

    days: float
    collections: list[TrashedCollection]
    sources: list[TrashedSource]
    documents: list[TrashedDocument]
    next_cursor: str | None
