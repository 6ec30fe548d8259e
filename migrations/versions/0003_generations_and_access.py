"""Add builds of generations, the trash, principals, API keys, idempotency keys, and mirrored plugin configurations"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ADDED = {
    "collections": (("trashed_at", sa.Double()), ("importing_at", sa.Double())),
    "generations": (
        ("operation_id", Id),
        ("wanted", Json),
        ("plugins", Json),
        ("build", Json),
        ("activated_at", sa.Double()),
        ("retire_at", sa.Double()),
    ),
    "sources": (("principals", Json), ("trashed_at", sa.Double())),
    "documents": (("trashed_at", sa.Double()),),
    "operations": (("generation_id", Id), ("detail", Json)),
}


def upgrade() -> None:
    for table, columns in ADDED.items():
        for name, kind in columns:
            op.add_column(table, sa.Column(name, kind))
    op.execute(
        "update generations set wanted ="
        " (select config from collections where collections.id = generations.collection_id)"
    )
    some = sa.text("trashed_at is not null")
    op.create_index(
        op.f("ix_documents_trashed_at"), "documents", ["trashed_at"], sqlite_where=some, postgresql_where=some
    )
    op.drop_table("plugin_configs")  # no release wrote to it
    op.create_table(
        "plugin_configs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("config", Json, nullable=False),
        sa.Column("last_health_check", sa.Double()),
        sa.Column("health_status", sa.Text(), nullable=False),
        sa.Column("error_message", sa.Text()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plugin_configs")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("collections", Json),
        sa.Column("principals", Json),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.Column("revoked_at", sa.Double()),
        sa.Column("used_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("hash", name=op.f("uq_api_keys_hash")),
        sa.UniqueConstraint("name", name=op.f("uq_api_keys_name")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("answer", Json),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("actor", "key", name=op.f("pk_idempotency_keys")),
    )


def downgrade() -> None:
    op.drop_table("idempotency_keys")
    op.drop_table("api_keys")
    op.drop_table("plugin_configs")
    op.create_table(
        "plugin_configs",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", Json, nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_plugin_configs")),
    )
    op.drop_index(op.f("ix_documents_trashed_at"), "documents")
    for table, columns in ADDED.items():
        for name, _ in columns:
            op.drop_column(table, name)
