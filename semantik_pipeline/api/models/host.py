"""The server's own host: what a doctor finds there, and the models that it has."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from semantik_pipeline.api.scrubbed import ScrubbedText


class DoctorFinding(BaseModel):
    """What was looked at, and what to do about it."""

    what: str = Field(examples=["ledger"])
    state: Literal["ok", "warning", "broken"]
    found: ScrubbedText
    remedy: ScrubbedText | None
    seconds: float | None = Field(description="How long a server took to answer, where one was asked.")


class DoctorReport(BaseModel):
    """All findings; `verdict` is the worst state among them."""

    verdict: Literal["ok", "warning", "broken"]
    findings: list[DoctorFinding]


class ModelInfo(BaseModel):
    """A model that something uses, or that lies in the models folder."""

    name: str = Field(examples=["BAAI/bge-small-en-v1.5"])
    plugin: str | None
    origin: str | None = Field(description="What kind of place it was found in.")
    path: str | None
    revision: str | None = Field(description="The commit.")
    size: int | None = Field(description="Bytes.")
    state: str = Field(examples=["known"], description="known, incomplete, unknown, missing or elsewhere")
    reason: ScrubbedText | None
    used_by: list[str]


class ModelList(BaseModel):
    models: list[ModelInfo]
    models_dir: str


class ModelLocation(BaseModel):
    """The files that a plugin reads for a model's name, and why those."""

    name: str
    path: str
    origin: str
    revision: str | None
    why: str
