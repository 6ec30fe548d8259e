"""What names a unit, and units by generation: most statements name units of one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol, TypeVar


class Key(NamedTuple):
    """A document in a generation."""

    document_id: int
    generation_id: int


class OfGeneration(Protocol):
    """A unit, its key, or what is known of it."""

    @property
    def generation_id(self) -> int: ...


_One = TypeVar("_One", bound=OfGeneration)


def by_generation(units: Iterable[_One]) -> list[tuple[int, list[_One]]]:
    """Units, or their keys, grouped by generation, in order of the generations."""
    groups: dict[int, list[_One]] = {}
    for unit in units:
        groups.setdefault(unit.generation_id, []).append(unit)
    return sorted(groups.items(), key=lambda group: group[0])
