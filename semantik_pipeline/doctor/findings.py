"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

#: From well to worst.
STATUSES = ("ok", "warning", "broken")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was checked, its ``status`` (ok, warning or broken), what was found, and what to do about it.

    ``seconds`` is how long a server took to answer, where one was asked.
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
    """The worst status of all."""
    return max((finding.status for finding in findings), key=STATUSES.index, default="ok")
