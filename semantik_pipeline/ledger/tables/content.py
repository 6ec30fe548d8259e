"""What the stages compute from documents: chunks, extractions, embeddings, and the words that a query may use."""

from __future__ import annotations

from sqlalchemy import Column, Double, Index, Integer, LargeBinary, Table, Text, UniqueConstraint

from semantik_pipeline.ledger.tables.columns import CodePointText, Id, Json, metadata

chunks = Table(
    "chunks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("generation_id", Id, nullable=False),
    Column("document_id", Id, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("lead", Text, nullable=False),  # precedes the text in the model's input
    Column("text", Text, nullable=False),
    Column("text_hash", Text, nullable=False, index=True),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("token_count", Integer, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("point_id", Text, nullable=False),
    Column("embed_key", Text, nullable=False, index=True),  # `embeddings.key`
    Column("signature", Text, nullable=False),  # hash of everything in the payload except the epoch
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
    Column("key", Text, nullable=False, unique=True),  # hash of the exact model input and the stage's fingerprint
    Column("vector", LargeBinary, nullable=False),  # float32, little endian
    Column("created_at", Double, nullable=False),
)

words = Table(
    "words",
    metadata,
    Column("id", Id, primary_key=True),
    Column("generation_id", Id, nullable=False),
    Column("word", CodePointText, nullable=False),
    Column("backwards", CodePointText, nullable=False),  # the word reversed, to find words by their ends
    Column("documents", Integer, nullable=False),  # roughly how many documents have, or had, the word
    # the witness (documents/words.py): a document that has the word, and the epoch of the chunk rows that have it
    Column("document_id", Id, nullable=False),
    Column("epoch", Integer, nullable=False),
    UniqueConstraint("generation_id", "word"),
    Index("ix_words_generation_id_backwards", "generation_id", "backwards"),
)
