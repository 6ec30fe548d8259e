"""What was made of a query, for who asked it."""

from __future__ import annotations

from pydantic import BaseModel, Field


class QueryFilter(BaseModel):
    """``field:value`` of a query."""

    field: str
    value: str
    excluded: bool = Field(description="`-field:value`: documents that have it are left out.")


class QueryInterpretation(BaseModel):
    """What a query says beside its words."""

    text: str = Field(description="What is asked; empty: it says nothing but filters, and documents are listed.")
    phrases: list[str] = Field(description="What must stand in a chunk as it is written.")
    excluded: list[str] = Field(description="What must not.")
    filters: list[QueryFilter]
    corrections: dict[str, str] = Field(description="Words that were taken for typing errors, and what was meant.")
