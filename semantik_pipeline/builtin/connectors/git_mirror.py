"""The bare mirror of a remote repository in a cache folder, which the sources and workers of a host share."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semantik_pipeline.errors import ServiceUnavailable

if TYPE_CHECKING:
    from dulwich.repo import Repo

#: Number of packs at which a mirror is fetched again from scratch. Each fetch adds a pack, and nothing removes objects
#: that no branch needs any more.
PACKS = 20

#: Seconds of one attempt to get the lock, and of all attempts. The holder may be in a first fetch of many gigabytes.
TRY = 5.0
PATIENCE = 600.0


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """The mirror in the folder ``path``. Writers hold its lock; readers do not need it."""

    path: Path

    def open(self) -> Repo:
        """Open the mirror. Creates an empty one if it does not exist."""
        from dulwich.errors import NotGitRepository
        from dulwich.repo import Repo

        try:
            return Repo(str(self.path))
        except NotGitRepository:
            pass
        with self.locked():  # another process may be creating or replacing it right now
            return self._opened()

    def _opened(self) -> Repo:
        from dulwich.repo import Repo

        if (self.path / "objects").is_dir():
            return Repo(str(self.path))
        return Repo.init_bare(str(self.path), mkdir=not self.path.is_dir())

    @contextmanager
    def written(self, waits: Callable[[], None]) -> Iterator[Repo]:
        """The repository to fetch into, locked. It is the mirror, or, if that has many packs, an empty repository that
        replaces the mirror if the block succeeds. ``waits`` is called while another process has the lock."""
        from dulwich.repo import Repo

        with self.locked(waits, PATIENCE):
            self._sweep()
            if len(list(self.path.glob("objects/pack/*.pack"))) < PACKS:
                with closing(self._opened()) as repo:
                    yield repo
                return
            with closing(Repo.init_bare(str(self._fresh), mkdir=True)) as repo:
                yield repo
            self.path.rename(self._old)  # current readers continue with the files they have open, or start again
            self._fresh.rename(self.path)
            shutil.rmtree(self._old, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove the files of a worker that died during a fetch."""
        for folder in (self._fresh, self._old):
            shutil.rmtree(folder, ignore_errors=True)
        for part in self.path.glob("objects/**/tmp_pack_*"):
            part.unlink(missing_ok=True)

    @property
    def _fresh(self) -> Path:
        return self.path.with_name(self.path.name + ".fresh")

    @property
    def _old(self) -> Path:
        return self.path.with_name(self.path.name + ".old")

    @contextmanager
    def locked(self, waits: Callable[[], None] = lambda: None, patience: float = TRY) -> Iterator[None]:
        """Hold the lock. Raises ServiceUnavailable if another process has it for longer than ``patience`` seconds."""
        from filelock import FileLock, Timeout

        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock, until = FileLock(f"{self.path}.lock"), time.monotonic() + patience
        while True:
            waits()
            try:
                lock.acquire(timeout=min(TRY, patience))
                break
            except Timeout as error:
                if time.monotonic() >= until:
                    raise ServiceUnavailable(
                        f"Another source has been fetching the mirror {self.path} for a long time.", retry_after=60
                    ) from error
        try:
            yield
        finally:
            lock.release()
