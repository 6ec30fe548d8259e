"""Workers of each profile, started by both commands: their queues, their pool and their number of threads."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from celery import Celery
from celery.concurrency import get_implementation

from semantik_pipeline import queue
from semantik_pipeline.ledger.queue import workers as ledger_workers
from workers.profiles import POOL, PROFILES, concurrency


def answers(fleet, count: int) -> dict[int, dict[str, Any]]:
    """Return what ``count`` workers report by Celery's remote control: pid -> statistics, queues, configuration."""
    with closing(Celery("operator", set_as_current=False)) as app:
        queue.configure(app, fleet.settings)
        asked = app.control.inspect(limit=count, timeout=20)
        stats, queues, configuration = asked.stats(), asked.active_queues(), asked.conf()
    return {
        report["pid"]: {**report, "queues": queues[node], "configuration": configuration[node]}
        for node, report in stats.items()
    }


@pytest.mark.slow
def test_both_commands_start_the_worker_that_the_profile_describes(make_fleet, postgres_url, redis, qdrant):
    """The commands are `celery -A workers.app worker` with SEMANTIK_WORKER_PROFILE, and `semantik worker --profile`."""
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    ours = {fleet.start_worker(SEMANTIK_WORKER_PROFILE=profile).pid: profile for profile in PROFILES}
    for profile in PROFILES:
        fleet.start_supervisor("--profile", profile)
    fleet.wait_until_ready(2 * len(PROFILES))
    with fleet.ledger.read() as tx:
        registered = {row.pid: row for row in ledger_workers.living(tx)}
    assert {pid: registered[pid].profile for pid in ours} == ours
    assert sorted(row.profile for row in registered.values()) == sorted([*PROFILES, *PROFILES])

    reports = answers(fleet, len(registered))
    assert set(reports) == set(registered)
    pool = get_implementation(POOL)
    for pid, report in reports.items():
        name = registered[pid].profile
        by = f"{name} by {'celery' if pid in ours else 'semantik'}"
        chosen = PROFILES[name]
        threads = concurrency(chosen, children=1)  # SEMANTIK_CHILD_PROCESSES is 1
        assert tuple(registered[pid].report["queues"]) == chosen.queues, by
        prefix = fleet.settings.broker.prefix
        assert {one["name"] for one in report["queues"]} == {f"{prefix}.{queue}" for queue in chosen.queues}, by
        assert report["pool"]["implementation"] == f"{pool.__module__}:{pool.__name__}", by
        assert report["pool"]["max-concurrency"] == threads, by
        assert report["prefetch_count"] == threads, f"{by}: one message for each thread"
        assert report["configuration"]["accept_content"] == ["json"], by
