"""What a source could not read, as its runs tell it."""

from __future__ import annotations

from semantik_pipeline.plugins.secrets import scrub_within
from semantik_pipeline.stages.parsing import storable_values

#: Problems of a run that are kept. A run is many slices, so how many more there were nobody counts.
PROBLEMS = 100
MORE = "… and more"


def problems_told(before: list[str], more: list[str]) -> list[str]:
    """What a run could not read, in its slices ``before`` and in this one: each once, and no more than people read."""
    said = scrub_within(storable_values([*before, *more]))
    each = [problem for problem in dict.fromkeys(said) if problem != MORE]
    return [*each[:PROBLEMS], MORE] if MORE in said or len(each) > PROBLEMS else each
