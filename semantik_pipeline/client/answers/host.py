"""The server's host: its diagnosis and its models."""

from __future__ import annotations

from typing import Literal, TypedDict


class DoctorFinding(TypedDict):
    """The result of a check."""

    check: str
    status: Literal["ok", "warning", "broken"]
    message: str
    remedy: str | None
    seconds: float | None


class DoctorReport(TypedDict):
    """The results of all checks; ``status`` is the worst among them."""

    status: Literal["ok", "warning", "broken"]
    findings: list[DoctorFinding]


class ModelInfo(TypedDict):
    """A model that is in use or in the models folder; ``size`` in bytes."""

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
    """The models, and the folder that holds pulled models."""

    models: list[ModelInfo]
    models_dir: str


class ModelLocation(TypedDict):
    """The files that are used for a model, and why."""

    name: str
    path: str
    origin: str
    revision: str | None
    reason: str
