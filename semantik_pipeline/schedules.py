"""When a source is due: intervals and cron expressions, time zones, jitter, and how long a failing one waits.

Pure: times are seconds since 1970, given and returned. cronsim computes cron, with the rules of Debian's cron where
clocks change: what falls into the hour that is left out runs right after it, what falls into the hour that comes twice
runs once, and what runs every hour or oftener goes by the hours that really pass.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from semantik_pipeline.errors import UsageError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")

#: How long a source waits after a sync that failed; doubled for each further one in a row, up to LONGEST_WAIT.
FIRST_WAIT = 60.0
LONGEST_WAIT = 6 * 3600.0


#: The longest interval and jitter that a person may give, in seconds: ten years. A longer one is a slip.
LONGEST = 10 * 365 * 86400.0


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``15m``, ``1h30m``, ``1.5d``, ``2w``. Raises UsageError."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"{text!r} is not a duration.", "Write a duration such as 30s, 15m, 2h, 1h30m or 1d.")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """``every`` so many seconds, or by ``cron`` on the clocks of ``timezone``; ``jitter`` spreads sources that share a
    schedule over so many seconds, each always by the same."""

    every: float | None = None
    cron: str | None = None
    timezone: str | None = None
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if (self.every is None) == (self.cron is None):
            raise UsageError(
                "A schedule is either an interval or a cron expression.",
                "Give every (--every) or cron (--cron), not both.",
            )
        if self.every is not None and self.every < 1:
            raise UsageError("The interval is shorter than a second.", "Write every: 15m (--every 15m).")
        if self.every is not None and self.timezone is not None:
            raise UsageError("An interval has no time zone.", "timezone (--timezone) works only with cron (--cron).")
        if self.jitter < 0 or (self.every is not None and self.jitter >= self.every):
            raise UsageError("The jitter must be shorter than the interval.", "Write jitter: 30s (--jitter 30s).")
        if self.cron is not None:
            self._cron_after(datetime.now(UTC).timestamp())

    def check_length(self) -> None:
        """Raise UsageError for a slip of the pen. One that is stored already is read all the same."""
        if max(self.every or 0.0, self.jitter) > LONGEST:
            raise UsageError(
                "The interval or jitter is longer than ten years.", "Write every: 15m, or 7d (--every 15m)."
            )

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Schedule:
        return cls(**stored)

    def stored(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value}

    def next(self, after: float, *, key: int, anchor: float) -> float:
        """The first time strictly later than ``after``. ``key`` (the source's id) decides its share of the jitter;
        intervals are counted from ``anchor`` (when the source was made)."""
        shift = self.jitter * _share(key)
        if self.every is not None:
            start = anchor + shift
            ticks = math.floor((after - start) / self.every) + 1
            found = start + ticks * self.every
            return found if found > after else found + self.every  # rounding
        return self._cron_after(after - shift) + shift

    def _cron_after(self, after: float) -> float:
        """Raises UsageError naming what is wrong with the expression or the time zone."""
        from cronsim import CronSim, CronSimError

        assert self.cron is not None
        begin = datetime.fromtimestamp(math.floor(after), _zone(self.timezone or "UTC"))
        try:
            if len(self.cron.split()) != 5:
                raise CronSimError("it must have five fields")
            # In the hour that comes twice the library may name a time of its first pass.
            return next(time.timestamp() for time in CronSim(self.cron, begin) if time.timestamp() > after)
        except CronSimError as error:
            raise UsageError(
                f"The cron expression {self.cron!r} is not valid: {error}.",
                'It has five fields (minute, hour, day, month, weekday), such as "0 3 * * *".',
            ) from None
        except StopIteration:
            raise UsageError(f"The cron expression {self.cron!r} never matches.", "Check its day and month.") from None

    def __str__(self) -> str:
        spread = f", jitter {_short(self.jitter)}" if self.jitter else ""
        if self.every is not None:
            return f"every {_short(self.every)}{spread}"
        return f"{self.cron} {self.timezone or 'UTC'}{spread}"


def parse_schedule(
    every: str | None,
    cron: str | None,
    timezone: str | None,
    jitter: str | None,
    *,
    default_zone: str,
    before: Schedule | None = None,
) -> Schedule | None:
    """The schedule that a person's words say, durations as ``15m``; what they leave open is as ``before``. None: on
    request only. Raises UsageError."""
    stored: dict[str, Any] = before.stored() if before else {}
    if every is not None or cron is not None:
        stored = {name: value for name, value in stored.items() if name == "jitter"}
    if every is not None:
        stored["every"] = parse_duration(every)
    if cron is not None:
        stored |= {"cron": cron, "timezone": default_zone}
    if timezone is not None:
        if not timezone.strip():
            raise UsageError(
                "The time zone is empty.", "Write Europe/Berlin or UTC, or leave timezone (--timezone) out."
            )
        stored["timezone"] = timezone
    if jitter is not None:
        stored["jitter"] = parse_duration(jitter) if jitter != "0" else 0.0
    if not stored:
        return None
    if "every" not in stored and "cron" not in stored:
        raise UsageError(
            "A jitter or a time zone needs a schedule.", "Add every (--every 15m) or cron (--cron '0 3 * * *')."
        )
    return Schedule(**stored)


def wait_after_faults(faults: int) -> float:
    """Seconds that a source waits after so many syncs in a row that failed."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(faults - 1, 20)) if faults > 0 else 0.0


def _zone(name: str) -> Any:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UsageError(f"Unknown time zone {name!r}.", "Write Europe/Berlin, America/New_York or UTC.") from None


def _share(key: int) -> float:
    """0..1, evenly spread, always the same for a key."""
    return int.from_bytes(hashlib.sha256(str(key).encode()).digest()[:6]) / 2**48


def _short(seconds: float) -> str:
    for unit in ("w", "d", "h", "m"):
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds:g}s"
