"""Deleted items that can be restored."""

from __future__ import annotations

from typing import TypedDict


class TrashedCollection(TypedDict):
    """A collection in the trash. ``purge_at``: when it will be deleted permanently; None if that is in progress."""

    id: int
    name: str
    documents: int
    trashed_at: float
    purge_at: float | None


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
    purge_at: float | None


class TrashList(TypedDict):
    """A page of the trash: collections, then sources, then documents."""

    retention_days: float
    collections: list[TrashedCollection]
    sources: list[TrashedSource]
    documents: list[TrashedDocument]
    next_cursor: str | None
