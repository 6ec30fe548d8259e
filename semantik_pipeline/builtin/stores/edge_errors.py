"""Qdrant Edge's exceptions in this project's words."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semantik_pipeline.errors import PermanentError, PipelineError, StorageFull, TransientError

_FULL = ("no space left", "os error 28", "disk quota", "os error 122")


@contextmanager
def translated(index: str) -> Iterator[None]:
    """Edge raises plain ``Exception`` for whatever its engine says, ``TypeError`` and ``ValueError`` for values that it
    can't take. Errors of this project pass."""
    try:
        yield
    except PipelineError:
        raise
    except (TypeError, ValueError) as error:  # UnicodeEncodeError is a ValueError
        raise PermanentError(f"The index {index} can't take this: {_short(error)}.") from error
    except Exception as error:
        if says_full(str(error)):
            raise full(index) from error
        raise TransientError(f"Qdrant Edge failed on the index {index}: {_short(error)}.") from error


def says_full(text: str) -> bool:
    """Whether an error's words mean that the disk has no room."""
    return any(sign in text.lower() for sign in _FULL)


def full(index: str) -> StorageFull:
    return StorageFull(
        f"The disk of the index {index} is full.",
        "Free some space and run the same command again; what was acknowledged is safe.",
    )


def check_room(folder: Path, reserve: int, index: str) -> None:
    """Raise StorageFull where fewer bytes than ``reserve`` are free: the engine maps its files, and a page of one that
    the disk has no place for ends the process."""
    if reserve and shutil.disk_usage(folder).free < reserve:
        raise full(index)


def damaged(index: Path, error: Exception) -> TransientError:
    """Transient: no document is to blame, and none may be quarantined for it at once."""
    return TransientError(
        f"The index {index.name} can't be opened: {_short(error)}.",
        f"Move {index} away, then `semantik verify --repair` builds it again from the ledger.",
    )


def _short(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".")
