"""The results of checks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

#: From best to worst.
STATUSES = ("ok", "warning", "broken")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A check's result: its ``status`` (ok, warning or broken), what was found, and what to do about it.

    ``seconds`` is the response time of a server, if the check asked one.
    """

    check: str
    status: str
    message: str
    remedy: str | None = None
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def well(check: str, message: str, *, seconds: float | None = None) -> Finding:
    return Finding(check=check, status="ok", message=message, seconds=seconds)


def warn(check: str, message: str, remedy: str, *, seconds: float | None = None) -> Finding:
    return Finding(check=check, status="warning", message=message, remedy=remedy, seconds=seconds)


def broken(check: str, message: str, remedy: str | None, *, seconds: float | None = None) -> Finding:
    return Finding(check=check, status="broken", message=message, remedy=remedy, seconds=seconds)


def verdict(findings: Iterable[Finding]) -> str:
    """Return the worst status."""
    return max((finding.status for finding in findings), key=STATUSES.index, default="ok")
