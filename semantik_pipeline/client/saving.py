"""Streams a response into a file."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from semantik_pipeline.errors import UsageError


@contextmanager
def saving(path: Path) -> Iterator[BinaryIO]:
    """A file that appears only when complete and is readable only by its owner. Raises UsageError if it exists."""
    if path.exists():
        raise UsageError(f"The file {path} already exists.", "Give another name, or remove it.")
    half = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    half.touch(0o600, exist_ok=False)
    try:
        with half.open("wb") as file:
            yield file
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
