"""Checks whether the files of a model are intact."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from semantik_pipeline.contracts.models import ModelFiles

_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_BLOB = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class Checked:
    """``state`` is ``ok``, ``broken`` (``problems`` name the files) or ``unknown`` (no known hashes). ``by`` names the
    reference for the check; ``bytes`` were read."""

    state: str
    by: str | None
    files: int
    bytes: int
    problems: list[str]


def check(model: ModelFiles) -> Checked:
    """Read the model's files and compare them with what is known about them: a manifest, a publisher's hash, or, in the
    Hugging Face cache, the file names, which are hashes."""
    present = dict(contents(model.path))
    problems, read = [], 0
    if model.sha256:
        complete = model.revision is not None  # a manifest lists every file; a publisher's hash covers one file
        by = "the manifest" if complete else "the published SHA-256"
        expected = dict(model.sha256)
        problems += [f"{name} is not in the manifest" for name in sorted(present.keys() - expected) if complete]
    else:
        by = "the names in the cache"
        expected = {name: real.name for name, path in present.items() if _is_digest((real := path.resolve()).name)}
    for name, wanted in sorted(expected.items()):
        path = present.get(name)
        if path is None:
            problems.append(f"{name} is missing")
            continue
        read += path.stat().st_size
        found = sha256_of(path) if _SHA256.fullmatch(wanted) else git_blob_of(path)
        if found != wanted:
            problems.append(f"{name} differs: {found[:12]}… instead of {wanted[:12]}…")
    state = "broken" if problems else "ok" if expected else "unknown"
    return Checked(state=state, by=by if expected else None, files=len(expected), bytes=read, problems=problems)


def contents(folder: Path) -> Iterator[tuple[str, Path]]:
    """``(path within the folder, path)`` of each file of a model, except hidden files and compiled Python."""
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in inner.parts):
            yield inner.as_posix(), path


def size_of(folder: Path) -> int:
    """Total bytes of a model's files."""
    return sum(path.stat().st_size for _, path in contents(folder))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_blob_of(path: Path) -> str:
    """The hash by which git identifies a file: SHA-1 over its length and content."""
    with path.open("rb") as file:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _is_digest(name: str) -> bool:
    return bool(_SHA256.fullmatch(name) or _GIT_BLOB.fullmatch(name))
