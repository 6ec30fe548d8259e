"""API keys."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.models.plain import Name

Role = Literal["reader", "writer", "admin"]


class ApiKeyCreate(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "search-page", "role": "reader", "collections": ["papers"]}},
    )

    name: Name = Field(description="Who will use it.")
    role: Role
    collections: list[Name] | None = Field(None, description="Those that it opens; null: all.")
    principals: list[Name] | None = Field(
        None, description="Whose documents it finds beside those that are open to everybody; null: all documents."
    )
    expires: str | None = Field(None, examples=["90d"], max_length=100, description="After which time; null: never.")


class ApiKey(BaseModel):
    """A key as the ledger knows it: without the key."""

    name: str
    state: Literal["valid", "expired", "revoked"]
    role: Role
    collections: list[str] | None
    principals: list[str] | None
    created_by: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    used_at: float | None


class ApiKeyCreated(ApiKey):
    key: str = Field(examples=["sk_…"], description="Shown now, and never again.")


class ApiKeyList(BaseModel):
    keys: list[ApiKey]
    next_cursor: str | None
