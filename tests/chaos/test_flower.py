"""Flower as docker-compose.yml starts it: without the password nothing is shown, with it workers and queues."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import httpx
import yaml

from semantik_pipeline.pipeline import QUEUES
from tests.chaos.servers import free_port, until
from tests.conftest import missing_server

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"

#: Pages that show information about the fleet.
PAGES = ("/", "/workers?json=1", "/broker", "/tasks", "/api/workers", "/api/queues/length")


def as_composed(port: int) -> tuple[list[str], dict[str, str]]:
    """Return the command and environment of compose's service, with another port and the test's servers."""
    service = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]["flower"]
    program, *words = [*service["entrypoint"], *service["command"]]
    options = [f"--port={port}" if word.startswith("--port=") else word for word in words]
    declared = {name: value for name, value in service["environment"].items() if name.startswith("FLOWER_")}
    filled = {name: re.sub(r"\$\{FLOWER_PASSWORD:[^}]*\}", "made-up", value) for name, value in declared.items()}
    return [str(Path(sys.executable).with_name(program)), *options], filled


def test_flower_asks_for_the_password_and_shows_workers_and_queues(make_fleet, postgres_url, redis, qdrant, tmp_path):
    if find_spec("flower") is None:
        missing_server("Flower is not installed.", "pip install semantik-pipeline[flower]")
    fleet = make_fleet(database=postgres_url, broker=redis.url, qdrant=qdrant.url)
    port = free_port()
    command, environment = as_composed(port)
    flower = fleet.start_other(command, "flower", **environment)
    asked = httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=("operator", "made-up"), trust_env=False)
    stranger = httpx.Client(base_url=asked.base_url, trust_env=False)

    def lives() -> bool:
        try:
            return stranger.get("/healthcheck").status_code == 200
        except httpx.TransportError:
            return False

    def waiting() -> dict[str, int]:
        queues = asked.get("/api/queues/length").json()["active_queues"]
        return {queue["name"]: queue["messages"] for queue in queues}

    def online() -> list[str]:
        workers = asked.get("/workers?json=1").json()["data"]
        return [worker["hostname"] for worker in workers if worker["status"]]

    with asked, stranger:
        until(lives, "Flower answers")
        for page in PAGES:
            codes = [one.get(page).status_code for one in (stranger, asked)]
            codes.append(stranger.get(page, auth=("operator", "wrong")).status_code)
            assert codes == [401, 200, 401], page
        queues = {f"semantik.{queue}": 0 for queue in (*QUEUES, "search")}
        assert (online(), waiting()) == ([], queues)
        fleet.runtime.ring("chunk")
        until(lambda: waiting() == queues | {"semantik.chunk": 1}, "the bell that nobody hears is shown")
        fleet.start_supervisor("--profile", "all")
        until(lambda: len(online()) == 1, "the worker is shown")
        until(lambda: waiting() == queues, "it hears the bell")
        flower.terminate()
        assert flower.wait(timeout=30) == 0
