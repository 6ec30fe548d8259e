"""``semantik operations``, in one process and beside a fleet whose only worker is a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from semantik_pipeline.testing.qdrant_double import QdrantDouble

REDIS = os.environ.get("SEMANTIK_TEST_REDIS_URL", "redis://127.0.0.1:6379/9")


def test_operations_are_listed_shown_and_run_again(cli, papers):
    assert "no operations yet" in cli("operations", "list").out
    cli("index", papers)
    listed = cli("operations", "list", "--json").json()["operations"]
    assert [(one["operation"], one["state"], one["outcome"]) for one in listed] == [("sync-1", "finished", "degraded")]
    shown = cli("operations", "show", "sync-1")
    assert shown.code == 3
    assert "1 document in quarantine" in shown.out
    assert "operations retry sync-1" in shown.out
    again = cli("operations", "retry", "1", "--json")
    assert (again.code, again.json()["operation"], again.json()["outcome"]) == (3, "retry-2", "degraded")
    (papers / "broken.pdf").unlink()
    assert cli("index", papers).code == 0
    assert cli("operations", "show", "3").code == 0


@pytest.mark.parametrize("wrong", [("show", "sync-99"), ("pause", "1"), ("show", "retry-1"), ("resume", "x")])
def test_what_cannot_be_is_one_line_and_a_way_out(indexed, wrong):
    done = indexed("operations", *wrong)
    assert done.code == 2
    assert done.err.splitlines()[0].startswith("error: ")
    assert "semantik operations" in done.err or "sync-1" in done.err
    assert "Traceback" not in done.err


def test_an_interrupted_sync_says_that_nobody_works_on_it_and_is_cancelled_and_taken_up(cli, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.txt").write_text(f"text number {number}")
    state = cli.data / "plugins.json"
    state.parent.mkdir()
    state.write_text('{"version": 1, "disabled_ids": [], "configs": {"fake-embedder": {"sleep_ms_per_text": 500}}}')
    process = cli.start("index", folder)
    until = time.monotonic() + 60
    while "embed" not in str(cli("status", "--json").json()["backlog"]) and time.monotonic() < until:
        assert process.poll() is None
    assert cli("operations", "pause", "sync-1", "--json").json()["state"] == "paused"  # beside the one at work
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    state.unlink()
    assert "sync-1 paused" in cli("status").out
    [listed] = cli("operations", "list", "--json").json()["operations"]
    assert listed["state"] == "paused"
    cancelled = cli("operations", "cancel", "sync-1", "--json").json()
    assert (cancelled["outcome"], cancelled["affected_documents"] > 0) == ("cancelled", True)
    assert cli("operations", "show", "1").code == 1
    assert cli("verify").code == 0
    again = cli("operations", "retry", "sync-1", "--json")
    assert (again.code, again.json()["outcome"]) == (0, "succeeded"), again.err
    assert cli("index", folder, "--json").json()["documents"]["unchanged"] == 40
    assert cli("verify").code == 0


def test_a_broker_alone_makes_no_fleet(cli, papers, broker):
    done = cli("index", papers, "--json", **broker)
    assert done.code == 3, done.err
    assert done.json()["documents"]["new"] == 3
    assert "works by itself" in done.err


@pytest.fixture
def broker(no_server) -> Iterator[dict[str, str]]:
    """The environment of commands with Redis as their broker, under a prefix of the test's own."""
    place = urlsplit(REDIS)
    try:
        socket.create_connection((place.hostname or "127.0.0.1", place.port or 6379), timeout=3).close()
    except OSError as error:
        no_server(f"No Redis at {REDIS}: {error}", "Start one, or give its URL in SEMANTIK_TEST_REDIS_URL.")
    prefix = f"test-{uuid.uuid4().hex[:8]}"
    yield {"SEMANTIK_BROKER_URL": REDIS, "SEMANTIK_BROKER_PREFIX": prefix}
    with redis.Redis.from_url(REDIS) as server:
        left = [*server.scan_iter(f"{prefix}*"), *server.scan_iter(f"_kombu.binding*{prefix}*")]
        if left:
            server.delete(*left)


@pytest.fixture
def fleet(cli, postgres_url: str, broker) -> Iterator[dict[str, str]]:
    """The environment of a fleet's commands: PostgreSQL, Redis, and a double of a Qdrant server."""
    double = QdrantDouble().start()
    environment = {
        **broker,
        "SEMANTIK_DATABASE_URL": postgres_url,
        "SEMANTIK_QDRANT_URL": double.url,
        "SEMANTIK_CHILD_PROCESSES": "1",
        "SEMANTIK_WORKER_HEARTBEAT": "1",
    }
    assert cli("migrate", **environment).out.startswith("Created the database")
    yield environment
    double.stop()


def ended(process: subprocess.Popen[bytes]) -> int:
    """Tell a process to end; its exit status, or minus 9 if it had to be killed."""
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    return process.returncode


def test_a_fleet_does_the_work_and_its_commands_own_nothing(cli, fleet, papers):
    (papers / "broken.pdf").unlink()
    waiting = cli.start("index", papers, "--json", **fleet)  # nobody is up yet
    until = time.monotonic() + 60
    listed = []
    while not listed and time.monotonic() < until:
        listed = cli("operations", "list", "--json", **fleet).json()["operations"]
    [one] = listed
    assert one["state"] == "blocked"
    assert "semantik worker" in one["reason"]
    told = cli("status", **fleet).out
    assert "in use by    the fleet; see semantik fleet status" in told
    paused = cli("operations", "pause", "1", "--json", **fleet).json()
    assert paused["state"] == "paused"
    worker = cli.start("worker", **fleet)
    try:
        resumed = cli("operations", "resume", "sync-1", "--wait", "--json", **fleet)
        assert (resumed.code, resumed.json()["outcome"]) == (0, "succeeded"), resumed.err
        out, err = waiting.communicate(timeout=60)
        assert waiting.returncode == 0, err
        assert b'"new": 2' in out
        found = cli("verify", "--repair", "--json", **fleet)
        assert (found.code, found.json()["points_found"]) == (0, 2)
        dropped = cli("documents", "drop", papers / "queues.txt", "--json", **fleet)
        assert (dropped.code, dropped.json()["dropped"]) == (0, 1), dropped.err
        assert ended(worker) == 0
    finally:
        for process in (worker, waiting):
            ended(process)
    left = {path.name for path in Path(cli.data).iterdir()}
    assert not left & {"index", "owner.json", "ledger.sqlite3"}


def test_a_server_whose_fleet_has_no_worker_says_so(cli, fleet):
    key = cli("keys", "create", "operator", "--role", "admin", "--json", **fleet).json()["key"]
    server = cli.start("serve", "--port", 0, **fleet)
    try:
        lines = (line.decode() for line in server.stderr)
        url = next(found.group(1) for line in lines if (found := re.search(r"listens at (\S+)/api/v2", line)))
        far = {"SEMANTIK_URL": url, "SEMANTIK_API_KEY": key}
        for command in ("drain", "resume", "restart"):
            near = cli("fleet", command, **fleet)
            assert (near.code, near.out) == (1, f"No worker is running, so there is nothing to {command}. {START}\n")
            done = cli("fleet", command, **far)
            said = (
                f"The server at {url} answers, but its fleet has no running worker, so there is nothing to {command}."
            )
            assert (done.code, done.out) == (1, f"{said} {START}\n"), done.err
        status = cli("fleet", "status", **far)
        assert f"The server at {url} answers, but its fleet has no running worker. {START}\n" in status.out
        missing = cli("fleet", "drain", "gpu", **far)
        assert (missing.code, missing.err.splitlines()[1]) == (2, f"  No worker is running. {START}")
    finally:
        ended(server)


START = "Start one on a host of the fleet: semantik worker"
