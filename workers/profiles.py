"""What kinds of workers there are: which queues each answers, with how many threads, in how many processes.
``semantik worker --profile gpu`` and ``celery -A workers.app worker`` (with ``SEMANTIK_WORKER_PROFILE=gpu``) both read
this table.

Every profile works in threads of one process. A loop of a stage runs as often as that process has room for it
(``Runtime.gates``): one embedding loop, one writer of the store, as many parsing and extracting loops as there are child
processes for plugin code. So one process keeps a device busy and is a complete fleet; more processes scale it.
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
    """A kind of worker. ``queues`` in the order of what it is for; ``processes`` side by side, unless the settings say how
    many."""

    queues: tuple[str, ...]
    processes: Callable[[], int] = lambda: 1
    on_devices: bool = False
    """Its processes are spread over the GPUs of the host: each sees one."""


#: The pool of Celery that every worker works in.
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
    """The profile of that name. Raises SettingsError listing those there are."""
    if name not in PROFILES:
        raise SettingsError(f"There is no worker profile {name!r}.", f"There are {', '.join(PROFILES)}.")
    return PROFILES[name]


def concurrency(chosen: Profile, children: int) -> int:
    """Threads of a process: one for each queue, and one more for each loop that child processes make room for."""
    loops = sum(stage in chosen.queues for stage in ("chunk", "extract"))
    return len(chosen.queues) + loops * children


def processes(chosen: Profile, settings: Settings) -> int:
    """Processes that ``semantik worker`` runs side by side."""
    return settings.worker.processes or chosen.processes()
