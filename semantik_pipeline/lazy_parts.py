"""What a runtime is made of: parts that are made when they are first asked for, until the runtime is closed."""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeVar

from semantik_pipeline.errors import PipelineError

Part = TypeVar("Part")


class part(cached_property[Part]):  # noqa: N801 - reads as the decorator that it is
    """Made when it is first asked for and kept; PipelineError once the owner is ``closed``, for a thread that is still
    at work then would start what nobody ends."""

    def __get__(self, owner: Any, kind: Any = None) -> Part:  # type: ignore[override]
        if owner is not None and owner.closed:
            raise PipelineError("This process has stopped.", "Start it again.")
        return super().__get__(owner, kind)
