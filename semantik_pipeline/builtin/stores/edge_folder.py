"""The folder of an embedded store: one subfolder for each index, and one process that owns them all.

``<path>/owner.lock`` is held by the owner, which ``<path>/owner.json`` identifies. ``<path>/<name>/spec.json``
describes the index, and ``<path>/<name>/shard`` belongs to Qdrant Edge. Names that start with a dot are folders that
are being created or removed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import uuid
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from semantik_pipeline.builtin.stores.checks import check_name
from semantik_pipeline.builtin.stores.edge_optimize import Optimizers
from semantik_pipeline.documents import IndexSpec
from semantik_pipeline.errors import DataFolderInUse, PipelineError

_REPLACED = ".replaced"


class EdgeFolder:
    """Paths, specs, ownership, and the child processes that work in the folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.optimizers = Optimizers()
        self._lock: Any = None
        self._names = threading.Lock()  # while an index is being replaced, its name briefly does not exist

    def own(self) -> None:
        """Become the owner. Raises DataFolderInUse, which names the current owner."""
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / "owner.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise DataFolderInUse(
                f"The index folder {self.path} is in use by {self._owner()}.",
                "Search or index through that process, or stop it and try again. A Qdrant server (qdrant.url) can"
                " serve several processes.",
            ) from None
        self._lock = lock
        about = {"pid": os.getpid(), "command": " ".join(sys.argv) or sys.executable}
        (self.path / "owner.json").write_text(json.dumps(about), "utf-8")
        self._sweep()

    def release(self) -> None:
        """Let another process own the folder."""
        if self._lock is not None:
            with suppress(OSError):
                (self.path / "owner.json").unlink()
            self._lock.release()
            self._lock = None

    @property
    def owned(self) -> bool:
        return self._lock is not None

    def names(self) -> list[str]:
        if not self.path.is_dir():
            return []
        with self._names:
            found = (entry for entry in self.path.iterdir() if not entry.name.startswith("."))
            return sorted(entry.name for entry in found if (entry / "spec.json").is_file())

    def shard(self, name: str) -> Path:
        return self.path / name / "shard"

    def spec(self, name: str) -> IndexSpec | None:
        """The spec of the index; None if there is no such index."""
        check_name(name)
        try:
            with self._names:
                written = (self.path / name / "spec.json").read_text("utf-8")
        except FileNotFoundError:
            return None
        try:
            return IndexSpec(**json.loads(written))
        except (ValueError, TypeError) as error:
            raise PipelineError(
                f"{self.path / name / 'spec.json'} is damaged: {error}.", "Drop the index and build it again."
            ) from None

    def staging(self, name: str) -> Path:
        """A new empty folder for an index that is being built."""
        check_name(name)
        folder = self.path / f".{name}-{uuid.uuid4().hex}"
        folder.mkdir()
        return folder

    def write_spec(self, folder: Path, spec: IndexSpec) -> None:
        draft = folder / "spec.json.new"
        draft.write_text(json.dumps(asdict(spec)), "utf-8")
        draft.replace(folder / "spec.json")

    def swap(self, staged: Path, name: str) -> Path:
        """Put a staged folder in the place of the index ``name``; returns the folder of the old index, to be removed.
        Lookups of the name wait meanwhile.

        If the process is killed between the two renames, the old index is a dot folder, which :meth:`_sweep` puts back.
        """
        leaving = self.path / f".{name}{_REPLACED}"
        shutil.rmtree(leaving, ignore_errors=True)  # left over if it could not be removed last time
        with self._names:
            (self.path / name).rename(leaving)
            try:
                staged.rename(self.path / name)
            except OSError:
                leaving.rename(self.path / name)
                raise
        to_disk(self.path)  # before the old index is removed
        return leaving

    def remove(self, name: str) -> None:
        """Remove an index: first its name, which is immediate, then its files."""
        check_name(name)
        leaving = self.path / f".{name}-{uuid.uuid4().hex}"
        with suppress(FileNotFoundError):
            (self.path / name).rename(leaving)
            shutil.rmtree(leaving, ignore_errors=True)

    def _owner(self) -> str:
        try:
            about = json.loads((self.path / "owner.json").read_text("utf-8"))
            return f"process {about['pid']} ({about['command']})"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def _sweep(self) -> None:
        """Put back an index that a killed owner was replacing, and remove folders that it left incomplete."""
        for entry in self.path.glob(f".*{_REPLACED}"):
            home = self.path / entry.name[1:].removesuffix(_REPLACED)
            if not home.exists():
                entry.rename(home)
        for entry in self.path.iterdir():
            if entry.name.startswith(".") and entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)


def to_disk(path: Path) -> None:
    """Make sure that a file's content, or a folder's entries, survive a power cut."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
