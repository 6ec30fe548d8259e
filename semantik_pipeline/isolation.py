"""Isolates failures: one failing source, operation or maintenance step does not stop the others."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, get_args

from semantik_pipeline.errors import PipelineError

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

#: The isolated steps, by the name under which their failures are counted.
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
    """Log an exception raised in the block and count it as ``maintenance_failures`` of the step, then continue.

    Exceptions of the types ``but`` are raised again. ``about`` names the item the step works on, for the log.
    """
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
