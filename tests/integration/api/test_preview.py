"""What a source would emit, looked at before anybody adds it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from semantik_pipeline import preview
from semantik_pipeline.errors import TransientError
from semantik_pipeline.testing import FakeConnector
from tests.integration.api.conftest import Api, problem
from tests.integration.conftest import texts


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return texts(tmp_path / "notes", one="First things.", two="Second things.")


def test_a_preview_shows_what_would_be_emitted_and_stores_nothing(api: Api, notes: Path) -> None:
    asked = {"connector": "directory", "config": {"path": str(notes)}}
    found = api.good(api.post("/sources/preview", json={**asked, "limit": 1}))
    assert len(found["documents"]) == 1 and (found["complete"], found["stopped_by"]) == (False, "limit")
    found = api.good(api.post("/sources/preview", json=asked))
    assert found["complete"] and {one["text"] for one in found["documents"]} == {"First things.", "Second things."}
    assert api.good(api.get("/sources"))["sources"] == [] and api.good(api.get("/documents"))["documents"] == []
    assert not list((api.runtime.settings.data_dir / "blobs").rglob("*.*"))
    problem(api.post("/sources/preview", json={"connector": "directory", "config": {"path": str(notes / "none")}}), 422)


def test_a_preview_of_what_hangs_ends_in_time_and_keeps_its_place(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(self: Any) -> bool:
        await asyncio.Event().wait()
        return True

    over = threading.Event()

    def block(self: Any) -> bool:
        return over.wait(60)

    asked = {"connector": "fake-connector", "timeout_seconds": 0.2}
    monkeypatch.setattr(FakeConnector, "authenticate", hang)
    found = api.good(api.post("/sources/preview", json=asked))
    assert (found["documents"], found["stopped_by"]) == ([], "time")
    monkeypatch.setattr(FakeConnector, "authenticate", block)
    monkeypatch.setattr(preview, "_places", threading.BoundedSemaphore(1))
    assert api.good(api.post("/sources/preview", json=asked))["stopped_by"] == "time"
    problem(api.post("/sources/preview", json=asked), 503)
    over.set()


def test_when_to_come_back_is_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def later(self: Any) -> bool:
        raise TransientError("Not now.", retry_after=7)

    monkeypatch.setattr(FakeConnector, "authenticate", later)
    answer = api.post("/sources/preview", json={"connector": "fake-connector"})
    problem(answer, 503)
    assert answer.headers["Retry-After"] == "7"
