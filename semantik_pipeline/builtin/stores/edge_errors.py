"""Converts Qdrant Edge's exceptions into this project's errors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semantik_pipeline.errors import PermanentError, PipelineError, StorageFull, TransientError

_FULL = ("no space left", "os error 28", "disk quota", "os error 122")


@contextmanager
def translated(index: str) -> Iterator[None]:
    """Convert the engine's errors. Edge raises plain ``Exception`` for errors of its engine, and ``TypeError`` or
    ``ValueError`` for values that it does not accept. Errors of this project pass unchanged."""
    try:
        yield
    except PipelineError:
        raise
    except (TypeError, ValueError) as error:  # UnicodeEncodeError is a ValueError
        raise PermanentError(f"The index {index} rejects the request: {_short(error)}.") from error
    except Exception as error:
        if says_full(str(error)):
            raise full(index) from error
        raise TransientError(f"Qdrant Edge failed on the index {index}: {_short(error)}.") from error


def says_full(text: str) -> bool:
    """Whether an error message means that the disk is full."""
    return any(sign in text.lower() for sign in _FULL)


def full(index: str) -> StorageFull:
    return StorageFull(
        f"The disk of the index {index} is full.",
        "Free some space and run the same command again; acknowledged writes are safe.",
    )


def check_room(folder: Path, reserve: int, index: str) -> None:
    """Raise StorageFull if fewer than ``reserve`` bytes are free. The engine maps its files, and writing to a mapped
    page that the disk has no space for kills the process."""
    if reserve and shutil.disk_usage(folder).free < reserve:
        raise full(index)


def damaged(index: Path, error: Exception) -> TransientError:
    """The error for an index that can't be opened. It is transient, because no document is the cause and none must be
    quarantined for it."""
    return TransientError(
        f"The index {index.name} can't be opened: {_short(error)}.",
        f"Move {index} away; `semantik verify --repair` then rebuilds it from the ledger.",
    )


def _short(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".")
