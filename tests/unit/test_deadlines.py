"""What a document may take before its plugin is said to hang, with the settings as they are shipped."""

from __future__ import annotations

from semantik_pipeline.pipeline import STAGES
from semantik_pipeline.settings import Child, Settings, Work
from semantik_pipeline.stages.chunk import TOGETHER
from semantik_pipeline.stages.unit_errors import HANGS


def test_a_small_document_that_hangs_is_quarantined_in_seconds():
    """Once with those that it was claimed with, then alone."""
    child, work = Child(), Work()
    pauses = sum(work.backoff * 2**attempt for attempt in range(HANGS - 1))
    assert child.deadline_of(TOGETHER) + HANGS * child.deadline_of(TOGETHER) + pauses < 40


def test_a_large_document_has_the_time_that_its_text_takes():
    """Two seconds of a processor for each megabyte of source code, read and cut with MiniLM's tokenizer."""
    assert Child().deadline_of(100_000_000) >= 2 * 100


def test_the_lease_outlasts_the_longest_wait_for_a_child():
    settings = Settings()
    largest = settings.child.deadline_of(settings.child.max_bytes)
    assert STAGES["chunk"].deadline(settings) >= 4 * largest
    assert STAGES["extract"].deadline(settings) >= 4 * settings.child.extract_deadline
