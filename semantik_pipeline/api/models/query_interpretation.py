"""How a query was interpreted."""

from __future__ import annotations

from pydantic import BaseModel, Field


class QueryFilter(BaseModel):
    """A filter in the query: `field:value`."""

    field: str
    value: str
    excluded: bool = Field(description="`-field:value`: matching documents are left out.")


class QueryInterpretation(BaseModel):
    """How a query was interpreted."""

    text: str = Field(
        description="The text that was searched for; empty if the query has only filters, so that matches are listed."
    )
    phrases: list[str] = Field(description="Phrases that a hit must contain.")
    excluded: list[str] = Field(description="Words and phrases that a hit must not contain.")
    filters: list[QueryFilter]
    corrections: dict[str, str] = Field(description="Corrected typos: the word in the query, and its correction.")
