"""A copy of an index has the bytes of its files, and their holes."""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.builtin.stores.edge_copy import BLOCK, copy_file


def with_holes(file: Path, parts: list[tuple[bool, int]]) -> None:
    """Write a file of these parts: whether it is data, other data in each place, and how many bytes."""
    with file.open("wb") as made:
        for data, length in parts:
            if data:
                made.write(random.Random(made.tell()).randbytes(length))
            else:
                made.seek(length, 1)
        made.truncate()


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([1, 4096, BLOCK, BLOCK + 7, 5 * BLOCK])), max_size=6))
def test_every_byte_is_where_it_was(parts: list[tuple[bool, int]]) -> None:
    with TemporaryDirectory() as name:
        original, copy = Path(name, "original"), Path(name, "copy")
        with_holes(original, parts)
        copy_file(str(original), str(copy))
        assert copy.read_bytes() == original.read_bytes()


@pytest.mark.parametrize("parts", [[(False, 64 * BLOCK)], [(True, 1), (False, 64 * BLOCK), (True, 1), (False, BLOCK)]])
def test_a_hole_takes_no_room(tmp_path: Path, parts: list[tuple[bool, int]]) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    with_holes(original, parts)
    if original.stat().st_blocks * 512 >= original.stat().st_size:
        pytest.skip("this file system has no holes")
    copy_file(str(original), str(copy))
    assert copy.stat().st_blocks * 512 <= 2 * BLOCK
