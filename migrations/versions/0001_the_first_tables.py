"""Create the first tables"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "chores",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("done_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_chores")),
    )
    op.create_table(
        "chunks",
        sa.Column("id", Id, nullable=False),
        sa.Column("generation_id", Id, nullable=False),
        sa.Column("document_id", Id, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("lead", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("text_hash", sa.Text(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("end", sa.Integer(), nullable=False),
        sa.Column("token_count", sa.Integer(), nullable=False),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("point_id", sa.Text(), nullable=False),
        sa.Column("embed_key", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chunks")),
        sa.UniqueConstraint(
            "generation_id",
            "document_id",
            "epoch",
            "ordinal",
            name=op.f("uq_chunks_generation_id_document_id_epoch_ordinal"),
        ),
    )
    with op.batch_alter_table("chunks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_chunks_embed_key"), ["embed_key"], unique=False)
        batch_op.create_index("ix_chunks_point_id", ["point_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_chunks_text_hash"), ["text_hash"], unique=False)

    op.create_table(
        "collections",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("config", Json, nullable=False),
        sa.Column("active_generation", Id, nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_collections")),
        sa.UniqueConstraint("name", name=op.f("uq_collections_name")),
    )
    op.create_table(
        "embeddings",
        sa.Column("id", Id, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_embeddings")),
        sa.UniqueConstraint("key", name=op.f("uq_embeddings_key")),
    )
    op.create_table(
        "extractions",
        sa.Column("id", Id, nullable=False),
        sa.Column("text_hash", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("result", Json, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_extractions")),
        sa.UniqueConstraint("text_hash", "fingerprint", name=op.f("uq_extractions_text_hash_fingerprint")),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("report", Json, nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("heartbeat", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "generations",
        sa.Column("id", Id, nullable=False),
        sa.Column("collection_id", Id, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("config", Json, nullable=False),
        sa.Column("fingerprints", Json, nullable=False),
        sa.Column("index_name", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], name=op.f("fk_generations_collection_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generations")),
        sa.UniqueConstraint("index_name", name=op.f("uq_generations_index_name")),
    )
    with op.batch_alter_table("generations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_generations_collection_id"), ["collection_id"], unique=False)

    op.create_table(
        "operations",
        sa.Column("id", Id, nullable=False),
        sa.Column("collection_id", Id, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("result", Json, nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], name=op.f("fk_operations_collection_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operations")),
    )
    with op.batch_alter_table("operations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_operations_state"), ["state"], unique=False)

    op.create_table(
        "sources",
        sa.Column("id", Id, nullable=False),
        sa.Column("collection_id", Id, nullable=False),
        sa.Column("connector", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("config", Json, nullable=False),
        sa.Column("weight", sa.Double(), server_default=sa.text("1"), nullable=False),
        sa.Column("next_turn", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("paused", sa.Text(), nullable=True),
        sa.Column("run", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("cursor", Json, nullable=True),
        sa.Column("operation_id", Id, nullable=True),
        sa.Column("allow_deletions", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("lane", sa.Integer(), server_default=sa.text("2"), nullable=False),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("not_before", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", Json, nullable=True),
        sa.Column("problems", Json, nullable=True),
        sa.Column("synced_at", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], name=op.f("fk_sources_collection_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sources")),
        sa.UniqueConstraint("collection_id", "connector", "name", name=op.f("uq_sources_collection_id_connector_name")),
    )
    op.create_table(
        "documents",
        sa.Column("id", Id, nullable=False),
        sa.Column("source_id", Id, nullable=False),
        sa.Column("collection_id", Id, nullable=False),
        sa.Column("unique_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=True),
        sa.Column("change_hint", sa.Text(), nullable=True),
        sa.Column("source_type", sa.Text(), nullable=True),
        sa.Column("media_type", sa.Text(), nullable=True),
        sa.Column("file_path", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("principals", Json, nullable=True),
        sa.Column("seen_run", sa.Integer(), nullable=False),
        sa.Column("deleted_at", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], name=op.f("fk_documents_collection_id")),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_documents_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_documents")),
        sa.UniqueConstraint("source_id", "unique_id", name=op.f("uq_documents_source_id_unique_id")),
    )
    with op.batch_alter_table("documents", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_documents_collection_id"), ["collection_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_documents_content_hash"), ["content_hash"], unique=False)
        batch_op.create_index("ix_documents_source_id_seen_run", ["source_id", "seen_run"], unique=False)
        batch_op.create_index("ix_documents_unique_id", ["unique_id"], unique=False)

    op.create_table(
        "operation_items",
        sa.Column("operation_id", Id, nullable=False),
        sa.Column("document_id", Id, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["operation_id"], ["operations.id"], name=op.f("fk_operation_items_operation_id")),
        sa.PrimaryKeyConstraint("operation_id", "document_id", name=op.f("pk_operation_items")),
    )
    with op.batch_alter_table("operation_items", schema=None) as batch_op:
        batch_op.create_index("ix_operation_items_document_id", ["document_id"], unique=False)

    op.create_table(
        "operation_sources",
        sa.Column("operation_id", Id, nullable=False),
        sa.Column("source_id", Id, nullable=False),
        sa.Column("run", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["operation_id"], ["operations.id"], name=op.f("fk_operation_sources_operation_id")),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_operation_sources_source_id")),
        sa.PrimaryKeyConstraint("operation_id", "source_id", name=op.f("pk_operation_sources")),
    )
    op.create_table(
        "work",
        sa.Column("document_id", Id, nullable=False),
        sa.Column("generation_id", Id, nullable=False),
        sa.Column("source_id", Id, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("goal", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("turn", sa.Double(), nullable=False),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("company", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("not_before", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("suspect", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("blocked", sa.Text(), nullable=True),
        sa.Column("error", Json, nullable=True),
        sa.Column("notes", Json, nullable=True),
        sa.Column("progress", Json, nullable=True),
        sa.Column("touched", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("reconcile", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("parse_key", sa.Text(), nullable=True),
        sa.Column("text_hash", sa.Text(), nullable=True),
        sa.Column("extracted", Json, nullable=True),
        sa.Column("chunks", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("embedded", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("chunks_epoch", sa.Integer(), nullable=True),
        sa.Column("indexed_epoch", sa.Integer(), nullable=True),
        sa.Column("indexed_chunks_epoch", sa.Integer(), nullable=True),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"], name=op.f("fk_work_document_id")),
        sa.ForeignKeyConstraint(["generation_id"], ["generations.id"], name=op.f("fk_work_generation_id")),
        sa.PrimaryKeyConstraint("document_id", "generation_id", name=op.f("pk_work")),
    )
    with op.batch_alter_table("work", schema=None) as batch_op:
        batch_op.create_index("ix_work_lease_token", ["lease_token"], unique=False)
        batch_op.create_index(
            "ix_work_reconcile",
            ["reconcile"],
            unique=False,
            sqlite_where=sa.text("reconcile"),
            postgresql_where=sa.text("reconcile"),
        )
        batch_op.create_index("ix_work_source_id_stage", ["source_id", "stage"], unique=False)
        batch_op.create_index("ix_work_stage_suspect_lane_turn", ["stage", "suspect", "lane", "turn"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("work", schema=None) as batch_op:
        batch_op.drop_index("ix_work_stage_suspect_lane_turn")
        batch_op.drop_index("ix_work_source_id_stage")
        batch_op.drop_index(
            "ix_work_reconcile", sqlite_where=sa.text("reconcile"), postgresql_where=sa.text("reconcile")
        )
        batch_op.drop_index("ix_work_lease_token")

    op.drop_table("work")
    op.drop_table("operation_sources")
    with op.batch_alter_table("operation_items", schema=None) as batch_op:
        batch_op.drop_index("ix_operation_items_document_id")

    op.drop_table("operation_items")
    with op.batch_alter_table("documents", schema=None) as batch_op:
        batch_op.drop_index("ix_documents_unique_id")
        batch_op.drop_index("ix_documents_source_id_seen_run")
        batch_op.drop_index(batch_op.f("ix_documents_content_hash"))
        batch_op.drop_index(batch_op.f("ix_documents_collection_id"))

    op.drop_table("documents")
    op.drop_table("sources")
    with op.batch_alter_table("operations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_operations_state"))

    op.drop_table("operations")
    with op.batch_alter_table("generations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_generations_collection_id"))

    op.drop_table("generations")
    op.drop_table("workers")
    op.drop_table("extractions")
    op.drop_table("embeddings")
    op.drop_table("collections")
    with op.batch_alter_table("chunks", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_chunks_text_hash"))
        batch_op.drop_index("ix_chunks_point_id")
        batch_op.drop_index(batch_op.f("ix_chunks_embed_key"))

    op.drop_table("chunks")
    op.drop_table("chores")
