"""Add indexes for the queries that each sync makes about its source, and for the units that an operation holds"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

#: Index -> table, columns, and the condition for a row to be in the index.
INDEXES = {
    "ix_documents_owed": (
        "documents",
        ["source_id", "id"],
        "deleted_at is null and "
        "(change_hint = '(could not be read)' or (content_hash is null and change_hint is null))",
    ),
    "ix_work_quarantined": ("work", ["source_id", "document_id"], "stage = 'quarantined'"),
    "ix_work_noted": ("work", ["source_id", "stage", "document_id", "generation_id"], "notes is not null"),
    "ix_work_held_by": ("work", ["held_by"], "held_by is not null"),
}


def upgrade() -> None:
    for name, (table, columns, condition) in INDEXES.items():
        some = {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
        op.create_index(op.f(name), table, columns, **some)


def downgrade() -> None:
    for name, (table, *_) in INDEXES.items():
        op.drop_index(op.f(name), table)
