"""Add the words of collections, with which search corrects spelling errors in queries"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Word = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "words",
        sa.Column("id", Id, nullable=False),
        sa.Column("generation_id", Id, nullable=False),
        sa.Column("word", Word, nullable=False),
        sa.Column("backwards", Word, nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.Column("document_id", Id, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_words")),
        sa.UniqueConstraint("generation_id", "word", name=op.f("uq_words_generation_id_word")),
    )
    op.create_index(op.f("ix_words_generation_id_backwards"), "words", ["generation_id", "backwards"])
    op.add_column("work", sa.Column("learned_epoch", sa.Integer()))
    unlearned = sa.text("coalesce(learned_epoch, -1) <> indexed_chunks_epoch")
    op.create_index(
        op.f("ix_work_unlearned"), "work", ["generation_id"], sqlite_where=unlearned, postgresql_where=unlearned
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_work_unlearned"), "work")
    op.drop_column("work", "learned_epoch")
    op.drop_index(op.f("ix_words_generation_id_backwards"), "words")
    op.drop_table("words")
