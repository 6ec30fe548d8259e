"""Which documents a child chunks together."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from semantik_pipeline.stages.chunk import TOGETHER, groups


@pytest.mark.parametrize(
    ("jobs", "sizes"),
    [
        ([], []),
        ([(1, 10), (1, 10), (1, None)], [3]),
        ([(1, TOGETHER), (1, 1), (1, 1)], [1, 2]),
        ([(1, 1), (1, 2 * TOGETHER), (1, 1)], [1, 1, 1]),
        ([(1, 1), (2, 1), (2, 1), (1, 1)], [1, 2, 1]),  # a child asks one generation's embedder
    ],
)
def test_small_documents_of_one_generation_go_together(jobs, sizes) -> None:
    units = [SimpleNamespace(unit=SimpleNamespace(generation_id=one, size=size)) for one, size in jobs]
    assert [len(group) for group in groups(iter(units))] == sizes
