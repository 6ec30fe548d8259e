"""When a source is due: intervals and cron expressions, time zones, jitter, and the delay after failed syncs.

Pure functions: times are seconds since 1970. cronsim evaluates cron expressions, with the rules of Debian's cron for
clock changes: a time in the skipped hour runs right after it, a time in the repeated hour runs once, and schedules that
run every hour or more often follow elapsed time.
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

#: Seconds that a source waits after a failed sync, doubled for each further failure in a row, up to LONGEST_WAIT.
FIRST_WAIT = 60.0
LONGEST_WAIT = 6 * 3600.0


#: Maximum interval and jitter that a user may set, in seconds: ten years. A longer one is a typing error.
LONGEST = 10 * 365 * 86400.0


def parse_duration(text: str) -> float:
    """Return the seconds of ``90s``, ``15m``, ``1h30m``, ``1.5d`` or ``2w``. Raises UsageError."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"{text!r} is not a duration.", "Write a duration such as 30s, 15m, 2h, 1h30m or 1d.")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """An interval of ``every`` seconds, or a ``cron`` expression in ``timezone``.

    ``jitter`` spreads sources that share a schedule over that many seconds; each source always has the same offset.
    """

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
        """Raise UsageError for an implausibly long schedule. Only new schedules are checked, stored ones are not."""
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
        """Return the first time that is later than ``after``.

        ``key`` (the source's id) determines its offset within the jitter. Intervals are counted from ``anchor``, the
        time when the source was created.
        """
        shift = self.jitter * _share(key)
        if self.every is not None:
            start = anchor + shift
            ticks = math.floor((after - start) / self.every) + 1
            found = start + ticks * self.every
            return found if found > after else found + self.every  # floating-point rounding
        return self._cron_after(after - shift) + shift

    def _cron_after(self, after: float) -> float:
        """Return the next time of the cron expression; raises UsageError if it or the time zone is invalid."""
        from cronsim import CronSim, CronSimError

        assert self.cron is not None
        begin = datetime.fromtimestamp(math.floor(after), _zone(self.timezone or "UTC"))
        try:
            if len(self.cron.split()) != 5:
                raise CronSimError("it must have five fields")
            # In the repeated hour, the library may return a time in its first pass, which may not be after ``after``.
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
    """Build a schedule from a user's input, with durations such as ``15m``; missing parts come from ``before``.

    None means no schedule: the source is synced on request only. Raises UsageError.
    """
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
    """Return the seconds that a source waits after ``faults`` failed syncs in a row."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(faults - 1, 20)) if faults > 0 else 0.0


def _zone(name: str) -> Any:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UsageError(f"Unknown time zone {name!r}.", "Write Europe/Berlin, America/New_York or UTC.") from None


def _share(key: int) -> float:
    """Return a number in 0..1, evenly distributed over keys and always the same for a key."""
    return int.from_bytes(hashlib.sha256(str(key).encode()).digest()[:6]) / 2**48


def _short(seconds: float) -> str:
    for unit in ("w", "d", "h", "m"):
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds:g}s"
