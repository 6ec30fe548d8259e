"""Who may call the API, which requests were already done, who changed what."""

from __future__ import annotations

from sqlalchemy import Column, Double, Integer, Table, Text

from semantik_pipeline.ledger.tables.columns import Id, Json, metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("hash", Text, nullable=False, unique=True),  # SHA-256 of the key; the key itself is shown once, never stored
    Column("role", Text, nullable=False),  # reader | writer | admin
    # ids of collections, or the name of one that does not exist yet; NULL: all collections
    Column("collections", Json),
    # principals whose documents the key finds, in addition to documents open to everybody; NULL: all documents
    Column("principals", Json),
    Column("created_by", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("used_at", Double),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("actor", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_hash", Text, nullable=False),
    Column("token", Text, nullable=False),  # of the request in progress: only the request with this token may answer
    Column("status", Integer),  # HTTP status of the answer; NULL: the request is in progress
    Column("answer", Json),
    Column("created_at", Double, nullable=False),  # renewed while the request runs, and when it is answered
)

audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Double, nullable=False, index=True),
    Column("actor", Text, nullable=False),  # a person or a process: user@host
    Column("event", Text, nullable=False),  # source.pause, plugin.disable ...
    Column("subject", Text, nullable=False),
    Column("detail", Json, nullable=False),
)
