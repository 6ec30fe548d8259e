"""Uploads to a Qdrant server go side by side, and none goes on once the store has given its answer."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from semantik_pipeline.builtin.stores.qdrant import QdrantStore
from semantik_pipeline.documents import IndexSpec, Point


def test_a_failed_insert_returns_when_no_upload_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("qdrant_client")
    store = QdrantStore({"url": "http://127.0.0.1:9", "parallel": 2, "batch_points": 1})
    asyncio.run(store.initialize())
    written: list[str] = []

    class Client:
        def upsert(self, name: str, points: list[Any], **_: Any) -> None:
            if points[0].id == "a":
                raise ValueError("the first one fails")
            time.sleep(0.3)
            written.append(points[0].id)

    monkeypatch.setattr(store, "_spec", lambda name, ask: (IndexSpec(dimension=2), None))
    monkeypatch.setattr(store, "_call", lambda call: call(Client()))
    points = [Point(id=one, vector=[1.0, 0.0], sparse_text="", payload={}) for one in ("a", "b", "c", "d")]
    try:
        with pytest.raises(ValueError, match="the first one fails"):
            store.insert("x", points)
        at_return = list(written)
        time.sleep(0.5)
        assert "b" in at_return and written == at_return
    finally:
        asyncio.run(store.cleanup())
