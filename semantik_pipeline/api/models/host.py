"""The server's host: its diagnosis and its models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from semantik_pipeline.api.scrubbed import ScrubbedText


class DoctorFinding(BaseModel):
    """The result of a check."""

    check: str = Field(examples=["ledger"], description="What was checked.")
    status: Literal["ok", "warning", "broken"]
    message: ScrubbedText = Field(description="What was found.")
    remedy: ScrubbedText | None = Field(description="What to do about it.")
    seconds: float | None = Field(description="Response time in seconds, if a server was contacted.")


class DoctorReport(BaseModel):
    """The results of all checks; `status` is the worst among them."""

    status: Literal["ok", "warning", "broken"]
    findings: list[DoctorFinding]


class ModelInfo(BaseModel):
    """A model that is in use or in the models folder."""

    name: str = Field(examples=["BAAI/bge-small-en-v1.5"])
    plugin: str | None
    origin: str | None = Field(description="Where it was found: models folder, package, cache or another place.")
    path: str | None
    revision: str | None = Field(description="Commit of the model's repository.")
    size: int | None = Field(description="Bytes.")
    state: str = Field(examples=["known"], description="known, incomplete, unknown, missing or elsewhere.")
    reason: ScrubbedText | None = Field(description="Why it is not usable here.")
    used_by: list[str] = Field(description="Collections and settings that use it.")


class ModelList(BaseModel):
    """Models."""

    models: list[ModelInfo]
    models_dir: str = Field(description="The models folder, for `semantik models pull`.")


class ModelLocation(BaseModel):
    """The files that are used for a model."""

    name: str
    path: str
    origin: str
    revision: str | None
    reason: str = Field(description="Why these files are used.")
