"""Add what a fleet needs: schedules, paused operations, worker reports, the history of plugin states, an audit trail"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sources", sa.Column("schedule", Json))
    op.add_column("sources", sa.Column("due_at", sa.Double()))
    op.add_column("sources", sa.Column("faults", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.add_column("sources", sa.Column("removed_at", sa.Double()))
    op.add_column("sources", sa.Column("held_by", Id))
    op.add_column("sources", sa.Column("worker", sa.Text()))
    op.add_column("sources", sa.Column("suspect", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index(op.f("ix_sources_due_at"), "sources", ["due_at"])
    op.add_column("work", sa.Column("held_by", Id))
    for column in ("parse_key", "text_hash"):
        some = sa.text(f"{column} is not null")
        op.create_index(op.f(f"ix_work_{column}"), "work", [column], sqlite_where=some, postgresql_where=some)
    op.drop_table("workers")  # no release wrote to it
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("report", Json, nullable=False),
        sa.Column("activity", Json),
        sa.Column("command", sa.Text()),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("heartbeat", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "plugin_configs",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", Json, nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_plugin_configs")),
    )
    op.create_table(
        "audit",
        sa.Column("id", Id, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", Json, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"])


def downgrade() -> None:
    op.drop_table("audit")
    op.drop_table("plugin_configs")
    op.drop_table("workers")
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
    for column in ("parse_key", "text_hash"):
        op.drop_index(op.f(f"ix_work_{column}"), "work")
    op.drop_column("work", "held_by")
    op.drop_index(op.f("ix_sources_due_at"), "sources")
    for column in ("suspect", "worker", "held_by", "removed_at", "faults", "due_at", "schedule"):
        op.drop_column("sources", column)
