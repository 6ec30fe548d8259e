"""The text about a failed plugin in a search's warnings."""

from __future__ import annotations

from semantik_pipeline.errors import PipelineError


def told(error: BaseException) -> str:
    """Return the error in a few words. The project's own errors are clear without their type."""
    if isinstance(error, PipelineError):
        return error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
