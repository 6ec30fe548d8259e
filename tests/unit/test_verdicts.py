"""What becomes of units whose stage failed, by the error's type."""

from __future__ import annotations

import pytest

from semantik_pipeline.errors import (
    ChildCrashed,
    ChildTimeout,
    FingerprintMismatch,
    OutOfMemory,
    PluginError,
    ServiceFailing,
    ServiceUnavailable,
    StorageFull,
    TransientError,
    UnsupportedContent,
    VariableNotSet,
    WorkerUnfit,
)
from semantik_pipeline.stages.unit_errors import AWAY, HANGS, Verdict, verdict

WAITS, SUSPECTED, CHARGED = (
    Verdict(outcome="released", delay=AWAY),
    Verdict(outcome="suspected"),
    Verdict(outcome="failed"),
)


@pytest.mark.parametrize(
    ("error", "in_company", "alone"),
    [
        (ServiceUnavailable("away"), WAITS, WAITS),
        (ServiceUnavailable("away", retry_after=7.0), *[Verdict(outcome="released", delay=7.0)] * 2),
        (StorageFull("full"), WAITS, WAITS),
        (WorkerUnfit("ill"), WAITS, WAITS),
        (PluginError("disabled"), WAITS, WAITS),
        (VariableNotSet("no key"), WAITS, WAITS),
        (FingerprintMismatch("another"), WAITS, WAITS),
        (OutOfMemory("no room"), SUSPECTED, WAITS),
        (ServiceFailing("HTTP 500"), SUSPECTED, WAITS),
        (UnsupportedContent("encrypted"), SUSPECTED, Verdict(outcome="quarantined")),
        (TransientError("busy", retry_after=3.0), SUSPECTED, Verdict(outcome="failed", delay=3.0)),
        (ChildTimeout("hangs"), SUSPECTED, Verdict(outcome="failed", attempts=HANGS)),
        (ChildCrashed("died"), SUSPECTED, CHARGED),
        (ValueError("a bug"), SUSPECTED, CHARGED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_the_error_decides(error: Exception, in_company: Verdict, alone: Verdict) -> None:
    assert verdict(error, alone=False) == in_company
    assert verdict(error, alone=True) == alone


def test_a_deletion_is_tried_again_whatever_fails() -> None:
    assert verdict(UnsupportedContent("corrupt"), alone=True, goal="deleted") == CHARGED
