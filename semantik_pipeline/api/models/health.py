"""Whether the API lives, and can work."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class Liveness(BaseModel):
    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """What a request may need, each with ``ok`` or what is wrong."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str] = Field(examples=[{"ledger": "ok", "plugins": "ok", "store": "ok"}])
