"""The ledger's tables. Times are seconds since 1970 on the database's clock; hashes are lowercase hex.

``migrations/`` makes exactly these; a test compares the two on every database.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
# SQLite counts rows up only in a column declared INTEGER PRIMARY KEY.
Id = BigInteger().with_variant(Integer, "sqlite")


def _reference(column: str, **options) -> Column:
    return Column(f"{column.split('.')[0].removesuffix('s')}_id", Id, ForeignKey(column), nullable=False, **options)


def _where(condition: str) -> dict[str, Any]:
    """Options of an index of some rows only."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


collections = Table(
    "collections",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("config", Json, nullable=False),
    Column("active_generation", Id),  # what search reads: index and model together
    Column("created_at", Double, nullable=False),
    Column("trashed_at", Double),  # somebody deleted it: hidden, and purged when the trash window is over
    Column("importing_at", Double),  # an import's last sign of life; hidden until it ends
)

generations = Table(
    "generations",
    metadata,
    Column("id", Id, primary_key=True),
    _reference("collections.id", index=True),
    Column("state", Text, nullable=False),  # building | active | kept (for a rollback) | retired (on its way out)
    Column("config", Json, nullable=False),  # frozen: the options that shape output
    Column("fingerprints", Json, nullable=False),  # stage -> fingerprint
    Column("index_name", Text, nullable=False, unique=True),
    Column("dimension", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("operation_id", Id),  # the reindex that builds, or built, it
    Column("wanted", Json),  # the collection's configuration that it was frozen from
    Column("plugins", Json),  # plugin -> the version it was frozen with
    Column("build", Json),  # how far its build is, and what its gate found
    Column("activated_at", Double),
    Column("retire_at", Double),  # when a kept one goes
)

sources = Table(
    "sources",
    metadata,
    Column("id", Id, primary_key=True),
    _reference("collections.id"),
    Column("connector", Text, nullable=False),
    Column("name", Text, nullable=False),  # what a person calls it: a path, a URL
    Column("config", Json, nullable=False),
    Column("weight", Double, nullable=False, server_default=text("1")),
    Column("next_turn", Double, nullable=False, server_default=text("0")),
    Column("hastened_upto", Double),  # its last turn when its units were let go ahead; behind it, that is paid back
    # {"every": seconds} or {"cron", "timezone"}, and {"jitter": seconds}; NULL: on request only
    Column("schedule", Json),
    Column("due_at", Double, index=True),  # when its next scheduled sync begins
    Column("faults", Integer, nullable=False, server_default=text("0")),  # syncs in a row that failed
    Column("paused", Text),  # why, or NULL
    Column("removed_at", Double),  # its documents are being removed; the row goes after the last of them
    Column("trashed_at", Double),  # somebody deleted it: synced no more, and removed when the trash window is over
    Column("principals", Json),  # who may find its documents, unless they say so themselves; NULL: everybody
    Column("run", Integer, nullable=False, server_default=text("0")),  # enumerations begun
    Column("cursor", Json),
    # the unit of the sync stage: one slice of this source
    Column("operation_id", Id),  # the sync in hand, or NULL: nothing to do
    Column("allow_deletions", Boolean, nullable=False, server_default=false()),
    Column("lane", Integer, nullable=False, server_default=text("2")),
    Column("held_by", Id),  # the paused operation that keeps it from going on
    Column("lease_token", Text),
    Column("lease_until", Double),
    Column("worker", Text),
    Column("not_before", Double, nullable=False, server_default=text("0")),
    Column("suspect", Boolean, nullable=False, server_default=false()),  # a worker died while it held this and others
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("error", Json),
    Column("problems", Json),  # what the last enumeration could not read
    Column("synced_at", Double),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("collection_id", "connector", "name"),
)

_OWED = "deleted_at is null and (change_hint = '(could not be read)' or (content_hash is null and change_hint is null))"

documents = Table(
    "documents",
    metadata,
    Column("id", Id, primary_key=True),
    _reference("sources.id"),
    _reference("collections.id", index=True),
    Column("unique_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("content_hash", Text, index=True),  # also the raw blob's name; NULL: never fetched
    Column("change_hint", Text),
    Column("source_type", Text),
    Column("media_type", Text),
    Column("file_path", Text),
    Column("title", Text),
    Column("size", BigInteger),
    Column("metadata", Json, nullable=False),
    Column("principals", Json),
    Column("seen_run", Integer, nullable=False),
    Column("deleted_at", Double),
    Column("trashed_at", Double),  # somebody deleted it: its body is kept until the trash window is over
    Column("created_at", Double, nullable=False),
    Column("changed_at", Double, nullable=False),
    UniqueConstraint("source_id", "unique_id"),
    Index("ix_documents_source_id_seen_run", "source_id", "seen_run"),
    Index("ix_documents_unique_id", "unique_id"),
    Index("ix_documents_trashed_at", "trashed_at", **_where("trashed_at is not null")),
    # what every run asks for beside what its source names: the first hint is that of outcomes.NOT_READ
    Index("ix_documents_owed", "source_id", "id", **_where(_OWED)),
)

work = Table(
    "work",
    metadata,
    Column("document_id", Id, ForeignKey("documents.id"), primary_key=True),
    Column("generation_id", Id, ForeignKey("generations.id"), primary_key=True),
    Column("source_id", Id, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("stage", Text, nullable=False),  # chunk extract embed upsert | indexed skipped deleted quarantined retired
    Column("goal", Text, nullable=False),  # what the end of upsert means: indexed | skipped | deleted
    Column("reason", Text),  # why it is skipped
    Column("epoch", Integer, nullable=False),  # only grows
    Column("lane", Integer, nullable=False),
    Column("turn", Double, nullable=False),
    Column("lease_token", Text),
    Column("lease_until", Double),
    Column("company", Boolean, nullable=False, server_default=false()),  # its worker may hold others too
    Column("worker", Text),
    Column("not_before", Double, nullable=False, server_default=text("0")),
    Column("suspect", Boolean, nullable=False, server_default=false()),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("held_by", Id),  # the paused operation that keeps it from being claimed
    Column("blocked", Text),  # why nobody here may take it
    Column("error", Json),  # stage, type, message, traceback, plugins, at
    Column("notes", Json),  # extractor -> what went wrong
    Column("progress", Json),  # how far upsert is: {"ordinal", "epoch", "begun", "rewrite"}
    Column("touched", Boolean, nullable=False, server_default=false()),  # the store may hold points of it
    Column("reconcile", Boolean, nullable=False, server_default=false()),  # a worker without lease touched the store
    Column("parse_key", Text),  # the parsed body's blob
    Column("text_hash", Text),  # of the parsed text: key of extractions per document
    Column("extracted", Json),  # extractions per document, searchable form
    Column("chunks", Integer, nullable=False, server_default=text("0")),
    Column("embedded", Integer, nullable=False, server_default=text("0")),  # of them, computed for this revision
    Column("chunks_epoch", Integer),  # the chunk rows of this build
    Column("indexed_epoch", Integer),  # points of this epoch and later may be shown
    Column("indexed_chunks_epoch", Integer),  # the chunk rows behind them
    Column("learned_epoch", Integer),  # the chunk rows whose words are learned
    Column("updated_at", Double, nullable=False),
    # in the order of claims, which read past whatever is in it: what an operation holds may be all there is
    Index("ix_work_claimable", "stage", "suspect", "lane", "turn", **_where("held_by is null")),
    # whatever asks for a stage otherwise begins with the generation, so that no planner takes this one for a claim
    Index("ix_work_generation_id_stage", "generation_id", "stage"),
    Index("ix_work_lease_token", "lease_token", **_where("lease_token is not null")),
    Index("ix_work_source_id_stage", "source_id", "stage"),
    # what a sync asks for of its source, however large that is: documents in quarantine, and failed extractors
    Index("ix_work_quarantined", "source_id", "document_id", **_where("stage = 'quarantined'")),
    Index("ix_work_noted", "source_id", "stage", "document_id", "generation_id", **_where("notes is not null")),
    Index("ix_work_held_by", "held_by", **_where("held_by is not null")),
    Index("ix_work_reconcile", "reconcile", sqlite_where=text("reconcile = 1"), postgresql_where=text("reconcile")),
    # whether another unit has the same parsed body, the same text: asked for each document that is deleted
    Index("ix_work_parse_key", "parse_key", **_where("parse_key is not null")),
    Index("ix_work_text_hash", "text_hash", **_where("text_hash is not null")),
    Index("ix_work_unlearned", "generation_id", **_where("coalesce(learned_epoch, -1) <> indexed_chunks_epoch")),
)

chunks = Table(
    "chunks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("generation_id", Id, nullable=False),
    Column("document_id", Id, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("lead", Text, nullable=False),  # what stands before the text in the model's input
    Column("text", Text, nullable=False),
    Column("text_hash", Text, nullable=False, index=True),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("token_count", Integer, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("point_id", Text, nullable=False),
    Column("embed_key", Text, nullable=False, index=True),
    Column("signature", Text, nullable=False),  # of everything in the payload but the epoch
    UniqueConstraint("generation_id", "document_id", "epoch", "ordinal"),
    Index("ix_chunks_point_id", "point_id"),
)

extractions = Table(
    "extractions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("text_hash", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("result", Json, nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("text_hash", "fingerprint"),
)

embeddings = Table(
    "embeddings",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", Text, nullable=False, unique=True),  # of the exact model input and the stage's fingerprint
    Column("vector", LargeBinary, nullable=False),  # float32, little endian
    Column("created_at", Double, nullable=False),
)

operations = Table(
    "operations",
    metadata,
    Column("id", Id, primary_key=True),
    _reference("collections.id"),
    Column("kind", Text, nullable=False),  # sync | retry | delete | repair | reindex ...
    Column("state", Text, nullable=False, index=True),  # running | paused | finished
    Column("outcome", Text),  # succeeded | degraded | failed | cancelled
    Column("result", Json),  # the counts at the end
    Column("generation_id", Id),  # the one that it builds
    Column("detail", Json),  # what was asked for, and what was foretold
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
)

operation_sources = Table(
    "operation_sources",
    metadata,
    Column("operation_id", Id, ForeignKey("operations.id"), primary_key=True),
    Column("source_id", Id, ForeignKey("sources.id"), primary_key=True),
    Column("run", Integer),
    Column("state", Text, nullable=False),  # running | finished | failed
    Column("error", Text),
)

operation_items = Table(
    "operation_items",
    metadata,
    Column("operation_id", Id, ForeignKey("operations.id"), primary_key=True),
    Column("document_id", Id, primary_key=True),
    Column("kind", Text, nullable=False),  # new | changed | deleted | resumed | retried | repaired | permitted
    Column("revision", Integer, nullable=False),
    Index("ix_operation_items_document_id", "document_id"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("profile", Text, nullable=False),
    Column("state", Text, nullable=False),  # starting | ready | draining | restarting | stopped
    Column("report", Json, nullable=False),  # what it is and loaded: version, queues, GPUs, plugin state, plugins
    Column("activity", Json),  # as of the heartbeat: units in hand, paces, models, fingerprints, memory
    Column("command", Text),  # what an operator asks of it: drain | resume | restart
    Column("started_at", Double, nullable=False),
    Column("heartbeat", Double, nullable=False),
)

chores = Table(
    "chores",
    metadata,
    Column("name", Text, primary_key=True),  # what maintenance does once in a while, whoever comes first
    Column("done_at", Double, nullable=False),
)

plugin_configs = Table(
    "plugin_configs",
    metadata,
    Column("id", Text, primary_key=True),  # mirrors the shared state file, which is what counts
    Column("type", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("config", Json, nullable=False),
    Column("last_health_check", Double),
    Column("health_status", Text, nullable=False),  # healthy | unhealthy | unknown
    Column("error_message", Text),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("hash", Text, nullable=False, unique=True),  # SHA-256 of the key, which is shown once
    Column("role", Text, nullable=False),  # reader | writer | admin
    Column("collections", Json),  # NULL: all
    Column("principals", Json),  # whose documents it finds beside those of everybody; NULL: all documents
    Column("created_by", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("used_at", Double),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Double, nullable=False, index=True),
    Column("actor", Text, nullable=False),  # a person's or process's name: user@host
    Column("event", Text, nullable=False),  # source.pause, plugin.disable ...
    Column("subject", Text, nullable=False),
    Column("detail", Json, nullable=False),
)
