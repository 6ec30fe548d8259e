"""What a search's warnings say of a plugin that failed."""

from __future__ import annotations

from semantik_pipeline.errors import PipelineError


def told(error: BaseException) -> str:
    """The error in a few words: what we say of it ourselves needs no type."""
    if isinstance(error, PipelineError):
        return error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
