"""The kinds of workers: which queues each consumes, with how many threads, in how many processes.

``semantik worker --profile gpu`` and ``celery -A workers.app worker`` (with ``SEMANTIK_WORKER_PROFILE=gpu``) both read
this table.

A worker process runs its stages in threads. ``Runtime.gates`` limits how many loops of a stage run at once: one
embedding loop, one loop that writes to the store, and as many parsing and extracting loops as there are child processes
for plugin code. Therefore one process keeps a device busy and can be a complete fleet; more processes scale it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from semantik_pipeline.errors import SettingsError
from semantik_pipeline.pipeline import QUEUES
from semantik_pipeline.queue import SEARCH
from semantik_pipeline.settings import Settings, visible_gpus


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A kind of worker. ``queues`` starts with the queue that the worker is mainly for. ``processes()`` is the number
    of processes on a host, unless ``worker.processes`` is set."""

    queues: tuple[str, ...]
    processes: Callable[[], int] = lambda: 1
    on_devices: bool = False
    """Whether the processes are spread over the GPUs of the host, so that each sees one GPU."""


#: The Celery pool that every worker uses.
POOL = "threads"

PROFILES: dict[str, Profile] = {
    "all": Profile(queues=(*QUEUES, SEARCH)),
    "gpu": Profile(
        queues=("embed", *(name for name in QUEUES if name != "embed"), SEARCH),
        processes=lambda: max(1, len(visible_gpus())),
        on_devices=True,
    ),
    "cpu": Profile(queues=tuple(name for name in QUEUES if name != "embed")),
    "search": Profile(queues=(SEARCH,), on_devices=True),
}


def profile(name: str) -> Profile:
    """The profile with this name. Raises SettingsError, which lists the profiles, for an unknown name."""
    if name not in PROFILES:
        raise SettingsError(f"There is no worker profile {name!r}.", f"The profiles are {', '.join(PROFILES)}.")
    return PROFILES[name]


def concurrency(chosen: Profile, children: int) -> int:
    """Threads of a process: one for each queue, and for the chunk and extract stages one more for each child
    process."""
    loops = sum(stage in chosen.queues for stage in ("chunk", "extract"))
    return len(chosen.queues) + loops * children


def processes(chosen: Profile, settings: Settings) -> int:
    """The number of processes that ``semantik worker`` runs on a host."""
    return settings.worker.processes or chosen.processes()
