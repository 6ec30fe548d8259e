"""The bare copy of a remote repository in a cache folder, which the sources and workers of a host share."""

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

#: Packs after which a mirror is fetched anew: each fetch adds one, and nothing takes out what no branch needs any more.
PACKS = 20

#: Seconds of one try to get the lock, and of all of them. Whoever holds it may be at a first fetch of many gigabytes.
TRY = 5.0
PATIENCE = 600.0


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """``path``: its folder. Who writes to it holds its lock; who reads need not."""

    path: Path

    def open(self) -> Repo:
        """The mirror as it stands; an empty one if there was none."""
        from dulwich.errors import NotGitRepository
        from dulwich.repo import Repo

        try:
            return Repo(str(self.path))
        except NotGitRepository:
            pass
        with self.locked():  # somebody may begin it, or put a fresh one in its place, right now
            return self._opened()

    def _opened(self) -> Repo:
        from dulwich.repo import Repo

        if (self.path / "objects").is_dir():
            return Repo(str(self.path))
        return Repo.init_bare(str(self.path), mkdir=not self.path.is_dir())

    @contextmanager
    def written(self, waits: Callable[[], None]) -> Iterator[Repo]:
        """The repository to fetch into, locked: the mirror, or, where it has many packs, an empty one that takes its
        place if the block ends well. ``waits`` is called while somebody else has the lock."""
        from dulwich.repo import Repo

        with self.locked(waits, PATIENCE):
            self._sweep()
            if len(list(self.path.glob("objects/pack/*.pack"))) < PACKS:
                with closing(self._opened()) as repo:
                    yield repo
                return
            with closing(Repo.init_bare(str(self._fresh), mkdir=True)) as repo:
                yield repo
            self.path.rename(self._old)  # who reads it now goes on with the files it has open, or begins again
            self._fresh.rename(self.path)
            shutil.rmtree(self._old, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what a worker that died in the middle of a fetch has left behind."""
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
        """Raises ServiceUnavailable if somebody else has the lock for longer than ``patience`` seconds."""
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
                        f"Another source reads the mirror {self.path} from its remote for long.", retry_after=60
                    ) from error
        try:
            yield
        finally:
            lock.release()
