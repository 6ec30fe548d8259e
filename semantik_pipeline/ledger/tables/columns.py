"""What all table definitions share: the metadata, column types, foreign keys, partial indexes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Integer, MetaData, Text, text
from sqlalchemy.dialects.postgresql import JSONB, TEXT

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

#: SQLite auto-increments only a column that is declared INTEGER PRIMARY KEY.
Id = BigInteger().with_variant(Integer, "sqlite")

#: Text in code point order on every database, so that a prefix search can be a range query.
CodePointText = Text().with_variant(TEXT(collation="C"), "postgresql")


def reference(column: str, **options: Any) -> Column:
    """A required foreign key, named after the table: ``sources.id`` makes ``source_id``."""
    return Column(f"{column.split('.')[0].removesuffix('s')}_id", Id, ForeignKey(column), nullable=False, **options)


def where(condition: str) -> dict[str, Any]:
    """Index options for a partial index: only rows that meet the SQL condition are in it."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
