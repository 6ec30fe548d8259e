"""API keys."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.models.plain import Name

Role = Literal["reader", "writer", "admin"]


class ApiKeyCreate(BaseModel):
    """An API key to create."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "search-page", "role": "reader", "collections": ["papers"]}},
    )

    name: Name = Field(description="Name of the key.")
    role: Role
    collections: list[Name] | None = Field(None, description="Collections that it gives access to; null means all.")
    principals: list[Name] | None = Field(
        None,
        description="Users or groups whose documents it finds, in addition to documents that everybody may see; null"
        " means all documents.",
    )
    expires_in: str | None = Field(
        None, examples=["90d"], max_length=100, description="Time until it expires; null means never."
    )


class ApiKey(BaseModel):
    """An API key, without its secret."""

    name: str
    state: Literal["valid", "expired", "revoked"]
    role: Role
    collections: list[str] | None
    principals: list[str] | None
    created_by: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None


class ApiKeyCreated(ApiKey):
    """A new API key, with its secret."""

    key: str = Field(examples=["sk_…"], description="The key itself. It is shown only in this response.")


class ApiKeyList(BaseModel):
    """A page of API keys."""

    keys: list[ApiKey]
    next_cursor: str | None
