"""The health check of a container: every process of a worker is asked, however many there are."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from semantik_pipeline.errors import SettingsError
from workers.health import illness
from workers.metrics import Endpoint, Probe


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a process that lives.

    The two behind it are free: all lie below those that systems give to clients.
    """
    while True:
        wanted = random.randrange(20_000, 32_000)
        with ExitStack() as opened, suppress(SettingsError):
            for place in (1, 2):
                serving(wanted + place).close()
            opened.callback(serving(wanted).close)
            yield wanted
            return


def serving(port: int, live: Probe = lambda: None) -> Endpoint:
    return Endpoint("127.0.0.1", port, [], live=live, ready=lambda: "draining")


def test_a_worker_is_well_while_each_of_its_processes_lives(port: int) -> None:
    assert illness(port) is None
    reasons: list[str | None] = [None]
    second = serving(port + 1, lambda: reasons[0])
    third = serving(port + 2)
    try:
        assert illness(port) is None
        reasons[0] = "there was no heartbeat for 301 s"
        assert illness(port) == f"the process at port {port + 1}: {reasons[0]}"
    finally:
        second.close()
        third.close()


def test_a_process_that_has_its_port_and_answers_nothing_is_ill(port: int) -> None:
    with socket.socket() as frozen:
        frozen.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        frozen.bind(("127.0.0.1", port + 1))
        frozen.listen()
        assert f"port {port + 1} does not answer" in str(illness(port, seconds=0.1))


def test_a_worker_whose_first_process_is_gone_is_ill(port: int) -> None:
    assert illness(port + 1) == f"nothing listens on port {port + 1}"
    asked = subprocess.run(
        [sys.executable, "-m", "workers.health", str(port + 1)], capture_output=True, text=True, check=False
    )
    assert (asked.returncode, asked.stdout) == (1, f"nothing listens on port {port + 1}\n")
    well = subprocess.run([sys.executable, "-m", "workers.health", str(port)], capture_output=True, check=False)
    assert (well.returncode, well.stdout) == (0, b"")
