"""Keys of units, and grouping by generation, since most statements name units of one generation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol, TypeVar


class Key(NamedTuple):
    """A document in a generation."""

    document_id: int
    generation_id: int


class OfGeneration(Protocol):
    """Anything that belongs to a generation: a unit, its key, or other data about it."""

    @property
    def generation_id(self) -> int: ...


_One = TypeVar("_One", bound=OfGeneration)


def by_generation(units: Iterable[_One]) -> list[tuple[int, list[_One]]]:
    """Group units or keys by generation; returns ``(generation id, members)`` in order of the ids."""
    groups: dict[int, list[_One]] = {}
    for unit in units:
        groups.setdefault(unit.generation_id, []).append(unit)
    return sorted(groups.items(), key=lambda group: group[0])
