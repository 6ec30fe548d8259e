"""Generations: one build of a collection's index each.

``configuration`` freezes what a generation is made of; ``plan`` foretells what building one costs; ``reindex`` asks for
it; ``building`` carries it out, a slice at a time, wherever maintenance runs; ``gate`` verifies it before search is switched
to it; ``aliases`` tells outsiders; ``rerunning`` sends documents their way again within it; ``outdated`` says what a collection's generation lacks of what is wanted and installed.
"""

from semantik_pipeline.generations.configuration import (
    DEFAULT,
    PAYLOAD_INDEXES,
    check,
    check_encoder,
    complete,
    encoders_of,
    fingerprints,
    freeze,
    frozen_from,
    index_spec,
    refusal,
    wanted_encoders,
)
from semantik_pipeline.generations.outdated import outdated
from semantik_pipeline.generations.plan import Plan, plan
from semantik_pipeline.generations.reindex import reindex, rollback
from semantik_pipeline.generations.rerunning import Matching, matching, rerun

__all__ = [
    "DEFAULT",
    "PAYLOAD_INDEXES",
    "Matching",
    "Plan",
    "check",
    "check_encoder",
    "complete",
    "encoders_of",
    "fingerprints",
    "freeze",
    "frozen_from",
    "index_spec",
    "matching",
    "outdated",
    "plan",
    "refusal",
    "reindex",
    "rerun",
    "rollback",
    "wanted_encoders",
]
