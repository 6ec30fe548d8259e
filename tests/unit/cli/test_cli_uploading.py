"""What is read here to be given to a server elsewhere: one bad file is named, and harms nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from semantik_pipeline.cli.remote.uploading import reading
from semantik_pipeline.operations import folder_source
from semantik_pipeline.settings import load_settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "papers"
    made.mkdir()
    for name in ("a.txt", "b.txt", "c.txt"):
        (made / name).write_text(name)
    return made


def read(folder: Path, tmp_path: Path):
    settings = load_settings(data_dir=tmp_path / "data")
    with reading(settings, folder_source(folder)) as reader:
        names = [Path(document.unique_id).name for document in reader.documents()]
    return names, reader


def test_all_is_read_where_nothing_is_wrong(folder: Path, tmp_path: Path) -> None:
    names, reader = read(folder, tmp_path)
    assert (names, reader.full, reader.problems) == (["a.txt", "b.txt", "c.txt"], True, [])


def test_a_file_that_is_too_large_is_named_and_the_others_are_read(folder: Path, tmp_path: Path) -> None:
    with (folder / "b.txt").open("wb") as file:
        file.truncate(300 * 2**20)  # a hole: above the connector's limit
    names, reader = read(folder, tmp_path)
    assert names == ["a.txt", "c.txt"]
    assert [Path(name).name for name in reader.unread] == ["b.txt"], "it has not vanished"
    assert reader.full, "and what else is not named has"
    (problem,) = reader.problems
    assert "b.txt" in problem and "limit" in problem
