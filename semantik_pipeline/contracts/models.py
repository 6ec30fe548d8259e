"""Models as a host sees them: the files that a plugin reads, what it did with them, and the models folder.

``semantik models pull`` fills the models folder, and plugins look there first. A model has a place in it, named as on
the hub, with a folder for each commit and a manifest beside it::

    BAAI/bge-small-en/5c38ec7c….json     # the manifest
    BAAI/bge-small-en/5c38ec7c…/         # the files

A folder of files that lies at a model's place without a commit (``mine/tuned/config.json``) counts too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Either file makes a folder a model's.
MARKS = ("config.json", "modules.json")

_COMMIT = re.compile(r"[0-9a-f]{40}")

#: What torch's allocators say: on a GPU; on a CPU under Linux; on a CPU elsewhere.
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A model's folder, and where it came from in words (``a folder``, ``the package …``, ``the models folder``).

    ``revision`` is the hub's commit, where it is known. ``sha256`` has what files must be, by path within the folder;
    empty where nobody knows.
    """

    name: str
    path: Path
    origin: str
    revision: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelUsage:
    """What a model in memory was used for since it was loaded.

    Plugins with the same ``key`` share one model: its memory and its work count once. ``padded_tokens`` are those that
    were computed, ``tokens`` those of them that were text. ``busy_seconds`` is the time of the forwards alone.
    """

    key: str
    tokens: int = 0
    padded_tokens: int = 0
    busy_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What ``semantik models pull`` wrote down: the commit, what was asked for (a branch, a tag), when (seconds since
    1970), and SHA-256 and size in bytes of each file."""

    name: str
    revision: str
    asked: str | None
    pulled_at: float
    sha256: dict[str, str]
    sizes: dict[str, int]

    def to_json(self) -> str:
        return json.dumps(vars(self), indent=1, sort_keys=True) + "\n"

    def matches(self, revision: str | None) -> bool:
        """Whether a revision (commit, at least seven digits of it, branch or tag; None: any) means this commit."""
        return revision is None or revision == self.asked or (len(revision) >= 7 and self.revision.startswith(revision))


def place_of(folder: Path | str, name: str) -> Path | None:
    """A model's place in the models folder; None for a name that can't have one, such as a path."""
    parts = name.split("/")
    if len(parts) > 2 or any(part in ("", ".", "..") or part[0] in "~." or "\\" in part for part in parts):
        return None
    return Path(folder).joinpath(*parts)


def pulled(place: Path) -> list[tuple[Path, Manifest]]:
    """``(folder, manifest)`` of each commit of a model, the first pulled first. A manifest without its folder is a pull
    that did not end; one that can't be read counts as none."""
    if not place.is_dir():
        return []
    found = []
    for file in sorted(place.glob("*.json")):
        folder = file.with_suffix("")
        if _COMMIT.fullmatch(folder.name) and folder.is_dir() and (manifest := _read(file)) is not None:
            found.append((folder, manifest))
    return sorted(found, key=lambda one: one[1].pulled_at)


def find_model(folder: Path | str, name: str, revision: str | None = None) -> ModelFiles | None:
    """The model in the models folder, or None.

    Without a revision the commit that was pulled first: a later pull doesn't change the vectors of a running
    collection; whoever wants the new one names it.
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
    """True for torch's OutOfMemoryError, and for the plain RuntimeError of its CPU and MPS allocators; also where one of
    those is the cause of another error."""
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
