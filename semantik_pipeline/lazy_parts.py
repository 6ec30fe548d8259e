"""A descriptor for the parts of a runtime, which are made at their first use until the runtime is closed."""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeVar

from semantik_pipeline.errors import PipelineError

Part = TypeVar("Part")


class part(cached_property[Part]):  # noqa: N801 - reads as the decorator that it is
    """An attribute that is made at its first use and then kept.

    It raises PipelineError once the owner is ``closed``: a thread that is still running then would otherwise start
    something that nothing closes.
    """

    def __get__(self, owner: Any, kind: Any = None) -> Part:  # type: ignore[override]
        if owner is not None and owner.closed:
            raise PipelineError("This process has stopped.", "Start it again.")
        return super().__get__(owner, kind)
