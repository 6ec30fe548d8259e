"""Places for runs of plugins that nobody can stop: so many for each plugin, and so many for all of a kind.

One that hangs keeps the places of its runs, so that it costs no thread for each search; others have their own.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from semantik_pipeline.errors import PluginError

#: Runs at once of a plugin, abandoned ones included, so that one that hangs costs no thread for each search ...
MAX_RUNS = 16
#: ... and of all plugins of a kind in a process.
MAX_RUNS_OF_ALL = 64


@dataclass(eq=False)
class Place:
    """A run's place; ``hangs`` once nobody waits for the run any more."""

    name: str
    plugin: object
    hangs: bool = False


class Places:
    """``each`` for a plugin, ``most`` for all. Threads may ask at once."""

    def __init__(self, each: int = MAX_RUNS, most: int = MAX_RUNS_OF_ALL) -> None:
        self._each, self._most = each, most
        self._taken: set[Place] = set()
        self._changed = threading.Condition()

    def take(self, name: str, plugin: object, until: float) -> Place:
        """A place for a run of this plugin, for which it waits until that moment of ``time.monotonic``, but not for runs
        that hang. Raises PluginError if there is none."""
        with self._changed:
            while busy := self._in_the_way(plugin):
                left = seconds_left(until)
                if not left or all(place.hangs for place in busy):
                    raise PluginError(self._told(plugin, busy))
                self._changed.wait(left)
            place = Place(name, plugin)
            self._taken.add(place)
            return place

    def hang(self, place: Place) -> None:
        """Nobody waits for that run any more."""
        with self._changed:
            place.hangs = True
            self._changed.notify_all()

    def free(self, place: Place) -> None:
        """That run has ended."""
        with self._changed:
            self._taken.discard(place)
            self._changed.notify_all()

    def _in_the_way(self, plugin: object) -> list[Place]:
        """The runs of which one must end before there is a place for this plugin; none if there is one."""
        own = [place for place in self._taken if place.plugin is plugin]
        if len(own) >= self._each:
            return own
        return list(self._taken) if len(self._taken) >= self._most else []

    def _told(self, plugin: object, busy: list[Place]) -> str:
        if all(place.plugin is plugin for place in busy):
            return f"{len(busy)} runs of it are still busy"
        names = ", ".join(sorted({place.name for place in busy}))
        return f"{len(busy)} runs of this process are still busy: {names}"


def seconds_left(until: float) -> float:
    """As many as a wait can have."""
    return min(max(0.0, until - time.monotonic()), threading.TIMEOUT_MAX)
