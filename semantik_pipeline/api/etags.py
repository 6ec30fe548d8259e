"""ETags of configurations: who changes one says which state it means to change, and overwrites nobody else's."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from fastapi import Header

from semantik_pipeline.errors import ChangedMeanwhile

IfMatch = Annotated[
    str | None, Header(max_length=400, description="The ETag that was read: another one now means 412, unchanged.")
]


def etag(value: Any) -> str:
    """A strong ETag of a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def require(if_match: str | None, current: str) -> None:
    """Raise ChangedMeanwhile unless there is no condition, or it names the current ETag (or ``*``)."""
    if if_match is None or if_match.strip() == "*":
        return
    if current not in [one.strip() for one in if_match.split(",")]:
        raise ChangedMeanwhile("It was changed since it was read.", "Read it again, and change what it is now.")
