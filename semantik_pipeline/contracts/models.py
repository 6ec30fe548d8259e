"""Models as the host sees them: the files that a plugin reads, what it did with them, and the models folder.

``semantik models pull`` fills the models folder, and plugins look there first. Each model has a place in it, named as
on the hub, with a folder for each commit and a manifest next to it::

    BAAI/bge-small-en/5c38ec7c….json     # the manifest
    BAAI/bge-small-en/5c38ec7c…/         # the files

A folder of files at a model's place without a commit (``mine/tuned/config.json``) counts too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: A folder with either file is a model.
MARKS = ("config.json", "modules.json")

_COMMIT = re.compile(r"[0-9a-f]{40}")

#: Messages of torch's allocators: on a GPU; on a CPU under Linux; on a CPU elsewhere.
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A model's folder, and where it came from in words (``a folder``, ``the package …``, ``the models folder``).

    ``revision`` is the hub's commit, if known. ``sha256`` maps paths within the folder to the hashes that the files
    must have; it is empty if they are unknown.
    """

    name: str
    path: Path
    origin: str
    revision: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelUsage:
    """What a model in memory was used for since it was loaded.

    Plugins with the same ``key`` share one model: its memory and its work count once. ``padded_tokens`` are the tokens
    that were computed; ``tokens`` are those of them that were text. ``busy_seconds`` is the time of the forward passes
    alone.
    """

    key: str
    tokens: int = 0
    padded_tokens: int = 0
    busy_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The record that ``semantik models pull`` writes.

    It holds the commit, what was asked for (a branch or a tag), the time in seconds since 1970, and the SHA-256 and
    size in bytes of each file.
    """

    name: str
    revision: str
    asked: str | None
    pulled_at: float
    sha256: dict[str, str]
    sizes: dict[str, int]

    def to_json(self) -> str:
        return json.dumps(vars(self), indent=1, sort_keys=True) + "\n"

    def matches(self, revision: str | None) -> bool:
        """Return whether a revision means this commit.

        It may be the commit or at least seven digits of it, the branch or tag that was asked for, or None for any.
        """
        return revision is None or revision == self.asked or (len(revision) >= 7 and self.revision.startswith(revision))


def place_of(folder: Path | str, name: str) -> Path | None:
    """Return a model's place in the models folder, or None for a name that can't have one, such as a path."""
    parts = name.split("/")
    if len(parts) > 2 or any(part in ("", ".", "..") or part[0] in "~." or "\\" in part for part in parts):
        return None
    return Path(folder).joinpath(*parts)


def pulled(place: Path) -> list[tuple[Path, Manifest]]:
    """Return ``(folder, manifest)`` for each commit of a model, the first one pulled first.

    A manifest without its folder is a pull that did not finish. A manifest that can't be read is ignored.
    """
    if not place.is_dir():
        return []
    found = []
    for file in sorted(place.glob("*.json")):
        folder = file.with_suffix("")
        if _COMMIT.fullmatch(folder.name) and folder.is_dir() and (manifest := _read(file)) is not None:
            found.append((folder, manifest))
    return sorted(found, key=lambda one: one[1].pulled_at)


def find_model(folder: Path | str, name: str, revision: str | None = None) -> ModelFiles | None:
    """Return the model in the models folder, or None.

    Without a revision, it is the commit that was pulled first, so a later pull doesn't change the vectors of a running
    collection. To use the new commit, name it.
    """
    place = place_of(folder, name)
    if place is None:
        return None
    if revision is None and any((place / mark).is_file() for mark in MARKS):
        return ModelFiles(name=name, path=place.resolve(), origin="the models folder")
    for path, manifest in pulled(place):
        if manifest.matches(revision):
            return ModelFiles(
                name=name,
                path=path.resolve(),
                origin="the models folder",
                revision=manifest.revision,
                sha256=manifest.sha256,
            )
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether this is torch's OutOfMemoryError, or the plain RuntimeError of its CPU and MPS allocators.

    An error with one of those as its cause counts too.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error).lower()
    if isinstance(error, RuntimeError) and any(words in said for words in _NO_MEMORY):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def _read(file: Path) -> Manifest | None:
    try:
        content: dict[str, Any] = json.loads(file.read_text("utf-8"))
        return Manifest(**content)
    except (OSError, ValueError, TypeError):
        return None
