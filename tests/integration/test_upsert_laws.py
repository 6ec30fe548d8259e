"""Upserting twice equals upserting once: whatever the documents, wherever the first try broke off."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from semantik_pipeline.ledger.tables import chunks, work
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.pipeline import work_on
from semantik_pipeline.testing.memory_store import MemoryStore
from semantik_pipeline.verification import verify
from tests.integration.conftest import FAKE_COLLECTION

CONFIG = {
    **FAKE_COLLECTION,
    "chunking": {"plugin": "recursive", "options": {"max_tokens": 6, "min_tokens": 1, "overlap_tokens": 0}},
}

PARAGRAPHS = st.lists(
    st.lists(st.sampled_from(["lease", "epoch", "bell", "queue"]), min_size=1, max_size=5).map(" ".join),
    min_size=1,
    max_size=9,
).map("\n\n".join)


def points(pipe) -> dict[str, Any]:
    """Everything that the store has, but for the time at which it was written."""
    index = pipe.runtime.ledger.search_view("default").index
    stored = pipe.runtime.store.scroll(index, limit=1000)[0]
    return {point.id: {name: value for name, value in point.payload.items() if name != "indexed"} for point in stored}


def again(pipe) -> None:
    """Send every document through ``upsert`` again with its epoch, as after a lost acknowledgement."""
    with pipe.runtime.ledger.write() as tx:
        tx.execute(update(work).where(work.c.stage == "indexed").values(stage="upsert"))


class Broken:
    """A store that fails once, before or after its so-manyth change."""

    def __init__(self, store: Any, at: int, *, before: bool) -> None:
        self._store, self._left, self._before = store, at, before

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in ("insert", "delete", "set_payload", "set_payloads"):
            return found

        def change(*args: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left == 0 and self._before:
                raise RuntimeError("the store went away")
            done = found(*args, **options)
            if self._left == 0:
                raise RuntimeError("the answer was lost")
            return done

        return change


def rows(pipe) -> list[str]:
    """The points that there must be, by the ledger."""
    shown = (chunks.c.document_id == work.c.document_id) & (chunks.c.epoch == work.c.indexed_chunks_epoch)
    with pipe.runtime.ledger.read() as tx:
        return list(tx.execute(select(chunks.c.point_id).join(work, shown)).scalars())


def test_upserting_twice_equals_once(make_pipeline) -> None:
    pipe = make_pipeline(upsert={"batch_size": 3})
    pipe.runtime.__dict__["_store"] = store = MemoryStore()

    # no shrinking: each example depends on those before
    @settings(max_examples=25, deadline=None, phases=[Phase.generate])
    @given(texts=st.lists(PARAGRAPHS, min_size=1, max_size=4), at=st.integers(1, 9), before=st.booleans())
    def law(texts: list[str], at: int, before: bool) -> None:
        contents = {f"d{number}": text for number, text in enumerate(texts)}  # each example revises the one before
        source = SourceRequest(connector="fake-connector", name="fake", config={"documents": contents})
        pipe.index(source, config=CONFIG, run=False)
        pipe.run("sync", "chunk", "extract", "embed")
        pipe.runtime.__dict__["_store"] = Broken(store, at, before=before)
        pipe.run()
        pipe.runtime.__dict__["_store"] = store
        assert set(pipe.stages().values()) == {"indexed"}
        once = points(pipe)
        assert sorted(once) == sorted(rows(pipe))
        again(pipe)
        pipe.run()
        assert points(pipe) == once
        assert verify(pipe.runtime).clean

    law()


def test_each_answer_of_a_slow_store_is_progress(make_pipeline) -> None:
    """Documents of several epochs take as many calls: each may take the stage's deadline, and not all together."""
    pipe = make_pipeline(upsert={"progress_timeout": 0.5})
    store, over = MemoryStore(), []
    insert = store.insert

    def slowly(*args: Any, **options: Any) -> None:
        time.sleep(0.3)
        insert(*args, **options)
        over.extend(pipe.runtime.keeper.hung(0))

    store.insert = slowly  # type: ignore[method-assign]
    pipe.runtime.__dict__["_store"] = store
    contents: dict[str, str] = {}
    for number in range(3):  # each but the last is revised
        contents = {name: f"{text} again" for name, text in contents.items()} | {f"d{number}": "a text"}
        source = SourceRequest(connector="fake-connector", name="fake", config={"documents": contents})
        pipe.index(source, config=CONFIG, run=False)
        pipe.run("sync")
    pipe.run("chunk", "extract", "embed")
    assert len({pipe.unit(name)["epoch"] for name in contents}) == 3
    work_on(pipe.runtime, "upsert")
    assert not over
    assert set(pipe.stages().values()) == {"indexed"}
