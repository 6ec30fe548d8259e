"""Bodies by key: one that is put again is young again, wherever they lie, so that no cleaning takes it away."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from semantik_pipeline.blobs import GRACE, Blobs

KEY = "ab" * 32


@pytest.fixture(params=["folder", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Blobs, Callable[[float], None]]]:
    """Blobs, and what makes the raw body of ``KEY`` so many seconds old."""
    if request.param == "folder":

        def age_file(seconds: float) -> None:
            file = tmp_path / "raw" / KEY[:2] / KEY
            os.utime(file, (time.time() - seconds,) * 2)

        yield Blobs(str(tmp_path)), age_file
        return
    memory, root = fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}"

    def age_object(seconds: float) -> None:
        memory.store[f"{root}/raw/{KEY[:2]}/{KEY}"].modified = datetime.fromtimestamp(time.time() - seconds, UTC)

    yield Blobs(f"memory:/{root}"), age_object
    memory.rm(root, recursive=True)


def test_a_body_that_is_put_again_is_young_again(place):
    blobs, make_old = place
    blobs.put_raw(KEY, b"body")
    make_old(10 * GRACE)
    blobs.put_raw(KEY, b"body")
    assert not blobs.remove("raw", KEY)
    assert blobs.get_raw(KEY) == b"body"


def test_an_old_body_that_nobody_put_again_can_be_removed(place):
    blobs, make_old = place
    blobs.put_raw(KEY, b"body")
    make_old(10 * GRACE)
    assert list(blobs.keys("raw", older_than=0)) == [[KEY]]
    assert blobs.remove("raw", KEY)
    assert blobs.get_raw(KEY) is None
