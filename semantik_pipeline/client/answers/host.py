"""The server's own host: what a doctor finds there, and the models that it has."""

from __future__ import annotations

from typing import Literal, TypedDict


class DoctorFinding(TypedDict):
    """What was looked at, and what to do about it."""

    what: str
    state: Literal["ok", "warning", "broken"]
    found: str
    remedy: str | None
    seconds: float | None


class DoctorReport(TypedDict):
    """All findings; ``verdict`` is the worst state among them."""

    verdict: Literal["ok", "warning", "broken"]
    findings: list[DoctorFinding]


class ModelInfo(TypedDict):
    """A model that something uses, or that lies in the models folder; ``size`` in bytes."""

    name: str
    plugin: str | None
    origin: str | None
    path: str | None
    revision: str | None
    size: int | None
    state: str
    reason: str | None
    used_by: list[str]


class ModelList(TypedDict):
    """The models, and the folder where pulled ones are."""

    models: list[ModelInfo]
    models_dir: str


class ModelLocation(TypedDict):
    """The files that a plugin reads for a model's name, and why those."""

    name: str
    path: str
    origin: str
    revision: str | None
    why: str
