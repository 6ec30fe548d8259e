"""Keys that are limited to a collection that is being imported: they are for it when it is there, and not before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semantik_pipeline import access, collections, trash
from semantik_pipeline.errors import Conflict, UnreadableExport
from semantik_pipeline.transfer import import_collection, importing
from tests.integration.test_transfer import _cut, exported
from tests.integration.test_trash import ticks


def opened(pipeline: Any) -> dict[str, list[str]]:
    return {row["name"]: row["collections"] for row in access.list_keys(pipeline.runtime)}


def key(pipeline: Any, name: str) -> None:
    access.create_key(pipeline.runtime, name, role="reader", collections=["copy"])


@pytest.fixture
def file(make_pipeline: Any, tmp_path: Path) -> tuple[Any, Path]:
    pipeline = make_pipeline()
    return pipeline, exported(pipeline, tmp_path)


def test_a_key_keeps_its_collection_through_imports_that_fail(file: tuple[Any, Path], monkeypatch: Any) -> None:
    pipeline, export = file
    key(pipeline, "before")
    with pytest.raises(UnreadableExport):
        import_collection(pipeline.runtime, _cut(export), name="copy")
    ticks(pipeline, 1)
    assert opened(pipeline) == {"before": ["copy"]}

    def read(*_: Any) -> dict[str, int]:
        key(pipeline, "meanwhile")
        return {}

    with monkeypatch.context() as during, pytest.raises(Conflict, match="deleted"):
        during.setattr(importing.exports, "reveal", lambda tx, *_: False)
        during.setattr(importing._Reader, "read", read)
        import_collection(pipeline.runtime, export, name="copy")
    ticks(pipeline, 1)
    assert opened(pipeline) == {"before": ["copy"], "meanwhile": ["copy"]}

    import_collection(pipeline.runtime, export, name="copy")
    collections.rename(pipeline.runtime, "copy", "papers")  # they are for that one, whatever it is called
    assert opened(pipeline) == {"before": ["papers"], "meanwhile": ["papers"]}


def test_a_key_forgets_an_imported_collection_that_went_for_good(file: tuple[Any, Path]) -> None:
    pipeline, export = file
    key(pipeline, "ci")
    import_collection(pipeline.runtime, export, name="copy")
    trash.delete_collection(pipeline.runtime, "copy", purge=True)
    ticks(pipeline)
    collections.create(pipeline.runtime, "copy")
    assert opened(pipeline) == {"ci": []}
