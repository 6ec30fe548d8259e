"""When sources are due: laws of intervals, cron, jitter and waits; the days on which clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.errors import UsageError
from semantik_pipeline.schedules import LONGEST_WAIT, Schedule, parse_duration, wait_after_faults

BERLIN = ZoneInfo("Europe/Berlin")
TIMES = st.floats(0, 4e9)


def ticks(schedule: Schedule, begin: datetime, count: int) -> list[datetime]:
    """The next times after ``begin``, on Berlin's clocks."""
    after, found = begin.timestamp(), []
    for _ in range(count):
        after = schedule.next(after, key=1, anchor=0)
        found.append(datetime.fromtimestamp(after, BERLIN))
    return found


def shown(times: list[datetime]) -> list[str]:
    return [f"{time:%d %H:%M %Z}" for time in times]


@given(TIMES, st.floats(1, 1e6), TIMES, st.floats(0, 0.9), st.integers(1, 10**9))
def test_an_interval_is_strictly_later_and_no_later_than_one_interval(after, every, anchor, part, key) -> None:
    found = Schedule(every=every, jitter=part * every).next(after, key=key, anchor=anchor)
    assert after < found <= after + every * (1 + 1e-6)


@given(TIMES, st.floats(1, 1e5), st.integers(1, 1000), st.floats(0, 0.5))
def test_every_time_of_an_interval_leads_to_the_next(after, every, key, part) -> None:
    schedule = Schedule(every=every, jitter=part * every)
    first = schedule.next(after, key=key, anchor=5.0)
    between = first + every * 0.5
    assert schedule.next(between, key=key, anchor=5.0) == pytest.approx(first + every)


CRONS = st.sampled_from(["0 3 * * *", "*/15 * * * *", "30 2 * * *", "0 0 1 * *", "0 12 * * MON-FRI", "5 */6 * * *"])
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])


@given(st.floats(1.6e9, 1.9e9), CRONS, ZONES, st.floats(0, 7200), st.integers(1, 1000))
def test_cron_is_strictly_later_and_leaves_nothing_out(after, cron, zone, jitter, key) -> None:
    schedule = Schedule(cron=cron, timezone=zone, jitter=jitter)
    found = schedule.next(after, key=key, anchor=0)
    assert after < found < after + 35 * 86400 + jitter
    just_before = schedule.next(found - 1.0, key=key, anchor=0)
    assert just_before == pytest.approx(found)


@given(st.integers(1, 10**6), st.floats(0.1, 600))
def test_jitter_is_a_sources_own_and_stays_within_its_bound(key, jitter) -> None:
    plain, spread = Schedule(cron="0 3 * * *"), Schedule(cron="0 3 * * *", jitter=jitter)
    shift = spread.next(1e9, key=key, anchor=0) - plain.next(1e9, key=key, anchor=0)
    assert 0 <= shift < jitter
    assert spread.next(1e9, key=key, anchor=0) == spread.next(1e9, key=key, anchor=0)


def test_jitter_spreads_a_fleet() -> None:
    schedule = Schedule(every=900, jitter=300)
    shifts = [schedule.next(0, key=key, anchor=0) for key in range(1, 301)]
    assert len({round(shift) // 60 for shift in shifts}) == 5


def test_missed_ticks_are_one() -> None:
    schedule = Schedule(every=60)
    assert schedule.next(10_000, key=1, anchor=0) == 10_020


def test_a_time_in_the_hour_that_is_left_out_runs_once_right_after() -> None:
    spring = datetime(2026, 3, 27, 12, tzinfo=BERLIN)  # the 29th goes from 02:00 CET to 03:00 CEST
    assert shown(ticks(Schedule(cron="30 2 * * *", timezone="Europe/Berlin"), spring, 3)) == [
        "28 02:30 CET",
        "29 03:00 CEST",
        "30 02:30 CEST",
    ]


def test_a_time_in_the_hour_that_comes_twice_runs_once() -> None:
    autumn = datetime(2026, 10, 24, 12, tzinfo=BERLIN)  # on the 25th 02:00..03:00 comes twice
    assert shown(ticks(Schedule(cron="30 2 * * *", timezone="Europe/Berlin"), autumn, 2)) == [
        "25 02:30 CEST",
        "26 02:30 CET",
    ]


def test_in_the_second_pass_of_an_hour_nothing_runs_again() -> None:
    second_pass = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1)
    (found,) = ticks(Schedule(cron="50 2 * * *", timezone="Europe/Berlin"), second_pass, 1)
    assert shown([found]) == ["26 02:50 CET"]


def test_what_runs_every_quarter_of_an_hour_goes_by_the_hours_that_pass() -> None:
    for day in (datetime(2026, 3, 29, tzinfo=BERLIN), datetime(2026, 10, 25, tzinfo=BERLIN)):
        found = ticks(Schedule(cron="*/15 * * * *", timezone="Europe/Berlin"), day, 30)
        steps = {b.astimezone(UTC) - a.astimezone(UTC) for a, b in pairwise(found)}
        assert steps == {timedelta(minutes=15)}


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("1.5d", 129600), ("2w", 1209600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "15 m", "-5m", "5x", "1h!"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("schedule", "complaint"),
    [
        ({"cron": "0 25 * * *"}, "hour"),
        ({"cron": "often"}, "five fields"),
        ({"cron": "0 0 3 * * *"}, "five fields"),
        ({"cron": "0 0 31 2 *"}, "31 2"),
        ({"cron": "0 3 * * *", "timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"cron": "0 3 * * *", "timezone": "../etc/passwd"}, "time zone"),
        ({"cron": "0 3 * * *", "every": 60.0}, "not both"),
        ({}, "interval or a cron"),
        ({"every": 0.1}, "than a second"),
        ({"every": 60.0, "jitter": 60.0}, "shorter"),
        ({"every": 60.0, "timezone": "UTC"}, "no time zone"),
    ],
)
def test_bad_schedules_say_what_is_wrong(schedule: dict, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Schedule(**schedule)


@given(st.integers(0, 100))
def test_waits_grow_to_a_cap(faults: int) -> None:
    assert wait_after_faults(faults) <= wait_after_faults(faults + 1) <= LONGEST_WAIT
    assert wait_after_faults(0) == 0


@pytest.mark.parametrize(
    "schedule",
    [Schedule(every=900, jitter=30), Schedule(cron="0 3 * * *", timezone="Europe/Berlin"), Schedule(cron="0 3 * * *")],
)
def test_a_schedule_is_stored_and_read_again(schedule: Schedule) -> None:
    assert Schedule.of(schedule.stored()) == schedule
    assert str(schedule) in {"every 15m, jitter 30s", "0 3 * * * Europe/Berlin", "0 3 * * * UTC"}
