"""Every postprocessor keeps the contract that authors are given."""

from __future__ import annotations

import pytest

from semantik_pipeline.builtin.postprocessors.dedupe import DedupePostprocessor
from semantik_pipeline.builtin.postprocessors.diversity import DiversityPostprocessor
from semantik_pipeline.builtin.postprocessors.group import GroupPostprocessor
from semantik_pipeline.builtin.postprocessors.highlight import HighlightPostprocessor
from semantik_pipeline.builtin.postprocessors.neighbours import NeighboursPostprocessor
from semantik_pipeline.testing.fake_postprocessor import FakePostprocessor
from semantik_pipeline.testing.postprocessors import PostprocessorContract


class TestHighlight(PostprocessorContract):
    def make_plugin(self):
        return HighlightPostprocessor()


class TestGroup(PostprocessorContract):
    def make_plugin(self):
        return GroupPostprocessor({"k": 2})


class TestDiversity(PostprocessorContract):
    def make_plugin(self):
        return DiversityPostprocessor()


class TestNeighbours(PostprocessorContract):
    def make_plugin(self):
        return NeighboursPostprocessor()


class TestSections(PostprocessorContract):
    def make_plugin(self):
        return NeighboursPostprocessor({"section": True})


class TestDedupe(PostprocessorContract):
    def make_plugin(self):
        return DedupePostprocessor()


@pytest.mark.parametrize("mode", FakePostprocessor.GOOD)
class TestFake:
    """The fake where it is good."""

    def test_it_keeps_the_contract(self, mode):
        class Fake(PostprocessorContract):
            def make_plugin(self):
                return FakePostprocessor({"mode": mode})

        for name in (name for name in dir(Fake) if name.startswith("test_")):
            getattr(Fake(), name)()
