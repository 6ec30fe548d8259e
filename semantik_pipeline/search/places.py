"""Bounds the runs of plugins, which can't be stopped: for each plugin, and for all plugins of a kind.

A run that hangs keeps its place, so a plugin that hangs does not take a further thread for each search. Other plugins
have places of their own.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from semantik_pipeline.errors import PluginError

#: The maximum of simultaneous runs of one plugin, including abandoned ones.
MAX_RUNS = 16
#: The maximum of simultaneous runs of all plugins of a kind in a process.
MAX_RUNS_OF_ALL = 64


@dataclass(eq=False)
class Place:
    """The place of one run. ``hangs`` is set when nobody waits for the run any longer."""

    name: str
    plugin: object
    hangs: bool = False


class Places:
    """The places of a kind: at most ``each`` for one plugin and ``most`` for all plugins. Thread-safe."""

    def __init__(self, each: int = MAX_RUNS, most: int = MAX_RUNS_OF_ALL) -> None:
        self._each, self._most = each, most
        self._taken: set[Place] = set()
        self._changed = threading.Condition()

    def take(self, name: str, plugin: object, until: float) -> Place:
        """Take a place for a run of the plugin, and wait for one until ``until`` (on the clock ``time.monotonic``).

        Raises PluginError if none becomes free, at once if all runs in the way hang.
        """
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
        """Record that nobody waits for the run any longer."""
        with self._changed:
            place.hangs = True
            self._changed.notify_all()

    def free(self, place: Place) -> None:
        """Give the place back: its run has ended."""
        with self._changed:
            self._taken.discard(place)
            self._changed.notify_all()

    def _in_the_way(self, plugin: object) -> list[Place]:
        """Return the runs of which one must end before the plugin gets a place; empty if a place is free."""
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
    """Return the seconds left until ``until``, within 0 and the longest timeout that a wait accepts."""
    return min(max(0.0, until - time.monotonic()), threading.TIMEOUT_MAX)
