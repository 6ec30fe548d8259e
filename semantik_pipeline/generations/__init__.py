"""Generations: each is one build of a collection's index.

- ``configuration`` freezes the configuration of a generation.
- ``plan`` estimates the cost of a build.
- ``reindex`` requests a build, or a rollback.
- ``building`` carries out builds, a slice at a time, during maintenance.
- ``gate`` verifies a build before search switches to it.
- ``aliases`` keeps the store's aliases up to date for external readers.
- ``rerunning`` sends documents through the stages again within the existing generations.
- ``outdated`` tells how the active generation differs from what a reindex would build now.
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
