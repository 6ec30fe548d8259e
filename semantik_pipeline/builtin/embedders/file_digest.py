"""SHA-256 of model files. Each file is read once per process."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, 64 hex digits.

    The digest is cached until the file's size or modification time changes. The Hugging Face cache stores large files
    under their SHA-256 and links to them, so those are not read. Other files take about 0.1 s per 100 MB.
    """
    real = path.resolve()
    if _HEX_DIGEST.fullmatch(real.name):
        return real.name
    state = real.stat()
    return _read_digest(real, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _read_digest(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
