"""What fails alone: one bad source, one operation in the trash, one step of maintenance keeps nothing else from going on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, get_args

from semantik_pipeline.errors import PipelineError

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

#: What fails alone, by the name under which failures are counted.
Step = Literal[
    "leases",
    "bells",
    "reconcile",
    "operations",
    "schedules",
    "statistics",
    "holds",
    "taking_up",
    "removals",
    "builds",
    "withdrawals",
    "trash",
    "permissions",
    "vocabulary",
    "sweep",
    "optimize",
]
STEPS: tuple[Step, ...] = get_args(Step)


@contextmanager
def isolated(
    runtime: Runtime, step: Step, about: str | None = None, *, but: tuple[type[Exception], ...] | type[Exception] = ()
) -> Iterator[None]:
    """Whatever goes wrong inside, ``but`` for these, is logged, and counted as ``maintenance_failures`` of the step; what
    comes after the block is done in any case. ``about``: which one of many it is."""
    try:
        yield
    except but:
        raise
    except Exception as error:
        runtime.tally.count("maintenance_failures", step=step)
        what = f"{step} ({about})" if about else step
        if isinstance(error, PipelineError):
            log.warning("Maintenance, %s: %s", what, error)
        else:
            log.exception("Maintenance, %s, failed.", what)
