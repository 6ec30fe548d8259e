"""Who is cancelled at a deadline is late, whatever a clock says a moment later; who gives up by itself is not."""

from __future__ import annotations

import asyncio
import time

import pytest

from semantik_pipeline.search.deadlines import Late, is_late, until


async def hang() -> None:
    await asyncio.sleep(60)


async def give_up() -> None:
    raise TimeoutError("the server's own")


def test_who_is_cancelled_for_the_deadline_is_late():
    moment = time.monotonic() + 0.01
    with pytest.raises(Late) as raised:
        asyncio.run(until(moment, hang)())
    assert is_late(raised.value, moment + 60)  # though that clock may be behind


def test_a_timeout_of_its_own_is_late_only_after_the_deadline():
    with pytest.raises(TimeoutError) as raised:
        asyncio.run(until(time.monotonic() + 60, give_up)())
    assert not isinstance(raised.value, Late)
    assert not is_late(raised.value, time.monotonic() + 60)
    assert is_late(raised.value, time.monotonic())
    assert not is_late(ValueError(), time.monotonic())
