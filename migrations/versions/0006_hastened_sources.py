"""Add how far a source has gone ahead of its fair share"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sources", sa.Column("hastened_upto", sa.Double()))


def downgrade() -> None:
    op.drop_column("sources", "hastened_upto")
