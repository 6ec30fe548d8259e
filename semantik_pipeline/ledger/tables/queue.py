"""Work: operations, the units that stages claim, the workers that claim them, and periodic maintenance."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Double, ForeignKey, Index, Integer, Table, Text, false, text

from semantik_pipeline.ledger.tables.columns import Id, Json, metadata, reference, where

operations = Table(
    "operations",
    metadata,
    Column("id", Id, primary_key=True),
    reference("collections.id"),
    Column("kind", Text, nullable=False),  # sync | retry | delete | repair | reindex ...
    Column("state", Text, nullable=False, index=True),  # running | paused | finished
    Column("outcome", Text),  # succeeded | degraded | failed | cancelled
    Column("result", Json),  # the counts at its end
    Column("generation_id", Id),  # the generation that it builds
    Column("detail", Json),  # what was requested, and the estimate given for it
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
    # new | changed | unchanged | deleted | restored | resumed | retried | repaired | permitted | rebuilt
    Column("kind", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Index("ix_operation_items_document_id", "document_id"),
)

#: Condition on units: the words of the chunk rows behind the unit's points are not learned yet. SQLite uses a partial
#: index only if the query has the same condition.
UNLEARNED = "coalesce(learned_epoch, -1) <> indexed_chunks_epoch"

work = Table(
    "work",
    metadata,
    Column("document_id", Id, ForeignKey("documents.id"), primary_key=True),
    Column("generation_id", Id, ForeignKey("generations.id"), primary_key=True),
    Column("source_id", Id, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("stage", Text, nullable=False),  # chunk extract embed upsert | indexed skipped deleted quarantined retired
    Column("goal", Text, nullable=False),  # the stage that follows upsert: indexed | skipped | deleted
    Column("reason", Text),  # why it is skipped
    Column("epoch", Integer, nullable=False),  # only grows
    Column("lane", Integer, nullable=False),
    Column("turn", Double, nullable=False),  # place in the lane: queue/fair_queue.py
    Column("lease_token", Text),
    Column("lease_until", Double),
    Column("company", Boolean, nullable=False, server_default=false()),  # its worker may hold other units too
    Column("worker", Text),
    Column("not_before", Double, nullable=False, server_default=text("0")),
    Column("suspect", Boolean, nullable=False, server_default=false()),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("held_by", Id),  # the paused operation that keeps the unit from being claimed
    Column("blocked", Text),  # why it waits, if people should know: what no worker has, or the error it is stuck on
    Column("error", Json),  # stage, type, message, traceback, plugins, at
    Column("notes", Json),  # extractor -> what went wrong
    Column("progress", Json),  # how far upsert is: {"ordinal", "epoch", "begun", "rewrite", "aside"}
    Column("touched", Boolean, nullable=False, server_default=false()),  # the store may hold points of the document
    # the store may hold points that it should not: written under a lost lease, or half-written before a quarantine
    Column("reconcile", Boolean, nullable=False, server_default=false()),
    Column("parse_key", Text),  # name of the parsed body's blob
    Column("text_hash", Text),  # of the parsed text: key of extractions made per document
    Column("extracted", Json),  # extractions made per document, in searchable form
    Column("chunks", Integer, nullable=False, server_default=text("0")),
    # how many of the chunks had their embedding computed for this revision
    Column("embedded", Integer, nullable=False, server_default=text("0")),
    Column("chunks_epoch", Integer),  # epoch of the chunk rows of the current build
    Column("indexed_epoch", Integer),  # points of this epoch and later may be shown
    Column("indexed_chunks_epoch", Integer),  # epoch of the chunk rows behind the points that may be shown
    Column("learned_epoch", Integer),  # epoch of the chunk rows whose words are in `words`
    Column("updated_at", Double, nullable=False),
    # In claim order. A claim reads past every entry it cannot take, so held units, which may be most, are left out.
    Index("ix_work_claimable", "stage", "suspect", "lane", "turn", **where("held_by is null")),
    # For other queries by stage. They name the generation first, so no planner picks this index for a claim.
    Index("ix_work_generation_id_stage", "generation_id", "stage"),
    Index("ix_work_lease_token", "lease_token", **where("lease_token is not null")),
    Index("ix_work_source_id_stage", "source_id", "stage"),
    # Asked by every sync of a source, however large: documents in quarantine, and documents with failed extractors.
    Index("ix_work_quarantined", "source_id", "document_id", **where("stage = 'quarantined'")),
    Index("ix_work_noted", "source_id", "stage", "document_id", "generation_id", **where("notes is not null")),
    Index("ix_work_held_by", "held_by", **where("held_by is not null")),
    # SQLite uses a partial index only if the query has the same condition, and queries compare a Boolean with 1.
    Index("ix_work_reconcile", "reconcile", sqlite_where=text("reconcile = 1"), postgresql_where=text("reconcile")),
    # Asked for each deleted document: does another unit share the parsed body, or the text?
    Index("ix_work_parse_key", "parse_key", **where("parse_key is not null")),
    Index("ix_work_text_hash", "text_hash", **where("text_hash is not null")),
    Index("ix_work_unlearned", "generation_id", **where(UNLEARNED)),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("profile", Text, nullable=False),
    Column("state", Text, nullable=False),  # starting | ready | draining | restarting | stopped
    # what it is and what it loaded: version, queues, GPUs, plugin state, plugins
    Column("report", Json, nullable=False),
    # at the last heartbeat: units in progress, rates, models, fingerprints, memory
    Column("activity", Json),
    Column("command", Text),  # what an operator asks it to do: drain | resume | restart
    Column("started_at", Double, nullable=False),
    Column("heartbeat", Double, nullable=False),
)

chores = Table(
    "chores",
    metadata,
    Column("name", Text, primary_key=True),  # a periodic maintenance task, done by the first worker that finds it due
    Column("done_at", Double, nullable=False),
)
