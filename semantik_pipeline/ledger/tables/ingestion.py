"""Sources, and the documents that they emit."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, Table, Text, UniqueConstraint, false, text

from semantik_pipeline.ledger.tables.columns import Id, Json, metadata, reference, where

sources = Table(
    "sources",
    metadata,
    Column("id", Id, primary_key=True),
    reference("collections.id"),
    Column("connector", Text, nullable=False),
    Column("name", Text, nullable=False),  # what people call it: a path, a URL
    Column("config", Json, nullable=False),
    Column("weight", Double, nullable=False, server_default=text("1")),
    Column("next_turn", Double, nullable=False, server_default=text("0")),  # the last turn given: queue/fair_queue.py
    # the last turn of units that were let ahead of the source's share; the source pays them back after this turn
    Column("hastened_upto", Double),
    # {"every": seconds} or {"cron", "timezone"}, and {"jitter": seconds}; NULL: synced on request only
    Column("schedule", Json),
    Column("due_at", Double, index=True),  # when its next scheduled sync begins
    Column("faults", Integer, nullable=False, server_default=text("0")),  # failed syncs in a row
    Column("paused", Text),  # the reason, or NULL
    Column("removed_at", Double),  # since then its documents are being removed; the row is deleted after the last one
    Column("trashed_at", Double),  # when it was deleted: not synced since, removed when the trash window is over
    Column("principals", Json),  # who may find documents that list no principals of their own; NULL: everybody
    Column("run", Integer, nullable=False, server_default=text("0")),  # number of enumerations begun
    Column("cursor", Json),
    # From here on: the unit of the sync stage, which is one slice of this source.
    Column("operation_id", Id),  # the sync in progress; NULL: nothing to do
    Column("allow_deletions", Boolean, nullable=False, server_default=false()),
    Column("lane", Integer, nullable=False, server_default=text("2")),
    Column("held_by", Id),  # the paused operation that keeps the source from continuing
    Column("lease_token", Text),
    Column("lease_until", Double),
    Column("worker", Text),
    Column("not_before", Double, nullable=False, server_default=text("0")),
    # a worker died while it held this unit together with others
    Column("suspect", Boolean, nullable=False, server_default=false()),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("error", Json),
    Column("problems", Json),  # what the last enumeration could not read
    Column("synced_at", Double),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("collection_id", "connector", "name"),
)

#: The change hint of a document that its source could not read. No source gives such a hint, so every run fetches the
#: document.
NOT_READ = "(could not be read)"

#: Documents whose content is still to be fetched.
_OWED = f"deleted_at is null and (change_hint = '{NOT_READ}' or (content_hash is null and change_hint is null))"

documents = Table(
    "documents",
    metadata,
    Column("id", Id, primary_key=True),
    reference("sources.id"),
    reference("collections.id", index=True),
    Column("unique_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    # also the name of the raw blob; NULL: the content was never fetched, or the blob was lost
    Column("content_hash", Text, index=True),
    Column("change_hint", Text),
    Column("source_type", Text),
    Column("media_type", Text),
    Column("file_path", Text),
    Column("title", Text),
    Column("size", BigInteger),
    Column("metadata", Json, nullable=False),
    Column("principals", Json),  # who may find it; NULL: the principals of its source count
    Column("seen_run", Integer, nullable=False),  # the last enumeration (`sources.run`) that named it
    Column("deleted_at", Double),
    Column("trashed_at", Double),  # when it was deleted by request: its body is kept until the trash window is over
    Column("created_at", Double, nullable=False),
    Column("changed_at", Double, nullable=False),
    UniqueConstraint("source_id", "unique_id"),
    Index("ix_documents_source_id_seen_run", "source_id", "seen_run"),
    Index("ix_documents_unique_id", "unique_id"),
    Index("ix_documents_trashed_at", "trashed_at", **where("trashed_at is not null")),
    # every sync asks for these, in addition to the documents that its connector names
    Index("ix_documents_owed", "source_id", "id", **where(_OWED)),
)
