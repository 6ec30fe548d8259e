"""Pages of long lists: at most ``limit`` entries, and a cursor for the next page.

A cursor is opaque to callers. It holds the sort key of the page's last entry. Therefore, entries that appear or
disappear between two requests neither repeat nor hide others.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Path, Query

from semantik_pipeline.errors import UsageError

Entry = TypeVar("Entry")

#: A ledger id in a path.
Number = Annotated[int, Path(ge=1, lt=2**63)]
Limit = Annotated[int, Query(ge=1, le=500, description="Maximum number of entries per page.")]
Cursor = Annotated[str | None, Query(max_length=4000, description="`next_cursor` of the previous page.")]


def encode(*key: Any) -> str:
    """The cursor after an entry with this sort key (strings, numbers, None)."""
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).decode().rstrip("=")


def decode(cursor: str | None, *types: type) -> tuple[Any, ...] | None:
    """The sort key in a cursor; None without a cursor. Raises UsageError unless :func:`encode` can have made the cursor
    from values of these types."""
    if cursor is None:
        return None
    try:
        key = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except ValueError:  # also for invalid UTF-8, base64 or ASCII
        key = None
    if not isinstance(key, list) or len(key) != len(types) or not all(map(_fits, key, types)):
        raise UsageError(
            "The cursor does not belong to this list.", "Use the `next_cursor` of the previous page unchanged."
        )
    return tuple(key)


def _fits(value: Any, kind: type) -> bool:
    if kind is int:
        return type(value) is int and abs(value) < 2**63
    if kind is float:
        return type(value) in (int, float) and abs(value) < 2**63  # false for NaN
    return isinstance(value, kind) and "\0" not in str(value)  # no text in the ledger contains a NUL


def cut(found: Sequence[Entry], limit: int, key: Callable[[Entry], tuple[Any, ...]]) -> tuple[list[Entry], str | None]:
    """Cut ``found``, for which one entry more than ``limit`` was requested, to a page. Returns the page, and the cursor
    of the next one, if any."""
    page = list(found[:limit])
    return page, encode(*key(page[-1])) if len(found) > limit else None
