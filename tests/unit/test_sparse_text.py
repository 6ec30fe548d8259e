"""What the BM25 leg indexes of a chunk: its fields as often as they weigh."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.stages.points import sparse_text

lines = st.text("abc xyz", min_size=1, max_size=8).filter(str.strip)


def text_of(title: str | None, section: list[str], text: str, *weights: int) -> str:
    row = SimpleNamespace(metadata={"section": section}, text=text)
    return sparse_text(SimpleNamespace(title=title), row, *weights)


@given(lines, st.lists(lines, unique=True, max_size=4), lines, st.integers(0, 5), st.integers(0, 5))
def test_each_field_is_there_as_often_as_it_weighs(title, section, text, title_weight, heading_weight):
    found = Counter(text_of(title, section, text, title_weight, heading_weight).split("\n"))
    wanted = Counter({text: 1})
    for heading in {*section} - {title}:
        wanted[heading] += heading_weight
    wanted[title] += max(title_weight, heading_weight if title in section else 0)
    assert found == +wanted


@pytest.mark.parametrize(
    ("title", "section", "wanted"),
    [
        ("Lease", ["Lease", "Renewal"], "Lease\nRenewal\ntext"),
        (None, ["Renewal", "Renewal"], "Renewal\ntext"),
        (None, [], "text"),
        ("", [""], "text"),
    ],
)
def test_by_default_each_counts_once_and_first(title, section, wanted):
    assert text_of(title, section, "text") == wanted
