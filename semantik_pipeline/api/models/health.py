"""Liveness and readiness of the API."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class Liveness(BaseModel):
    """The process answers requests."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Whether requests can be answered. Each check is `ok`, or the type of its error."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str] = Field(examples=[{"ledger": "ok", "plugins": "ok", "store": "ok"}])
