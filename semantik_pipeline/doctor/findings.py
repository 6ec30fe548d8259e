"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

#: From well to worst.
STATES = ("ok", "warning", "broken")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """``what`` was looked at, its ``state`` (ok, warning or broken), what was ``found``, and what to do about it.

    ``seconds`` is how long a server took to answer, where one was asked.
    """

    what: str
    state: str
    found: str
    remedy: str | None = None
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def well(what: str, found: str, *, seconds: float | None = None) -> Finding:
    return Finding(what=what, state="ok", found=found, seconds=seconds)


def warn(what: str, found: str, remedy: str, *, seconds: float | None = None) -> Finding:
    return Finding(what=what, state="warning", found=found, remedy=remedy, seconds=seconds)


def broken(what: str, found: str, remedy: str | None, *, seconds: float | None = None) -> Finding:
    return Finding(what=what, state="broken", found=found, remedy=remedy, seconds=seconds)


def verdict(findings: Iterable[Finding]) -> str:
    """The worst state of all."""
    return max((finding.state for finding in findings), key=STATES.index, default="ok")
