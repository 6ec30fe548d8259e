"""Collect the problems of a run: reasons why parts of its source could not be read."""

from __future__ import annotations

from semantik_pipeline.plugins.secrets import scrub_within
from semantik_pipeline.stages.parsing import storable_values

#: Maximum number of problems kept for a run. A run has many slices, so the number of further problems is not counted.
PROBLEMS = 100
MORE = "… and more"


def problems_told(before: list[str], more: list[str]) -> list[str]:
    """Merge the problems of the run's earlier slices (``before``) with new ones (``more``), without duplicates.

    Keeps at most :data:`PROBLEMS` of them, as many as a person would read.
    """
    said = scrub_within(storable_values([*before, *more]))
    each = [problem for problem in dict.fromkeys(said) if problem != MORE]
    return [*each[:PROBLEMS], MORE] if MORE in said or len(each) > PROBLEMS else each
