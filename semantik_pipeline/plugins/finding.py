"""Finds installed plugins without importing them: the entry points of the group ``semantik.plugins``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from semantik_pipeline.contracts import KINDS
from semantik_pipeline.errors import PluginNotFoundError
from semantik_pipeline.plugins.state import PluginState, canonical

ENTRY_POINT_GROUP = "semantik.plugins"
#: The distribution whose plugins count as built-in.
BUILTIN_DISTRIBUTION = "semantik-pipeline"

_GOOD_NAME = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An entry point and what its name tells: the plugin's id, and its kind if the name starts with one.

    ``origin`` is the distribution and its version, for example ``semantik-pipeline 2.0.0.dev0``.
    """

    name: str
    id: str
    kind: str | None
    origin: str
    builtin: bool
    entry_point: EntryPoint

    @property
    def complaint(self) -> str | None:
        """What is wrong with the entry point's name and how to write it; None if the name is valid."""
        if _GOOD_NAME.fullmatch(self.name):
            return None
        kinds = " | ".join(KINDS)
        return (
            f"The entry point's name {self.name!r} is not a plugin id: use PLUGIN_ID or <kind>-<PLUGIN_ID> "
            f"(kind: {kinds}), in lower-case letters, digits and single hyphens."
        )

    def may_be(self, plugin_id: str) -> bool:
        """Whether this entry point may provide the plugin with that id."""
        return canonical(plugin_id) in (self.id, canonical(self.name))

    def is_disabled(self, state: PluginState) -> bool:
        return state.is_disabled(self.id) or state.is_disabled(self.name)


def find_candidates(found: Iterable[EntryPoint] | None = None) -> list[Candidate]:
    """Return every installed plugin: built-ins first, then by distribution and name, so the order never varies."""
    found = entry_points(group=ENTRY_POINT_GROUP) if found is None else found
    packages: dict[int, tuple[str, str]] = {}  # cached, because reading a package's name and version parses metadata
    candidates = [_candidate(entry_point, packages) for entry_point in found]
    return sorted(candidates, key=lambda candidate: (not candidate.builtin, candidate.origin.lower(), candidate.name))


def require_candidate(plugin_id: str) -> set[str]:
    """Return the canonical names of an installed plugin: its id and its entry points. Imports nothing.

    Raises PluginNotFoundError with similar ids.
    """
    candidates = find_candidates()
    wanted = [candidate for candidate in candidates if candidate.may_be(plugin_id)]
    if not wanted:
        ids = sorted({candidate.id for candidate in candidates})
        near = difflib.get_close_matches(canonical(plugin_id), ids, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else "`semantik plugins list` shows the installed plugins."
        raise PluginNotFoundError(f"There is no plugin {plugin_id!r}.", hint)
    return {name for candidate in wanted for name in (candidate.id, canonical(candidate.name))}


def _candidate(entry_point: EntryPoint, packages: dict[int, tuple[str, str]]) -> Candidate:
    distribution = getattr(entry_point, "dist", None)
    name, origin = "unknown", entry_point.value
    if distribution is not None:
        if id(distribution) not in packages:
            packages[id(distribution)] = (distribution.name, distribution.version)
        name, version = packages[id(distribution)]
        origin = f"{name} {version}"
    kind, plugin_id = split_name(entry_point.name)
    return Candidate(
        name=entry_point.name,
        id=plugin_id,
        kind=kind,
        origin=origin,
        builtin=canonical(name.lower()) == BUILTIN_DISTRIBUTION,
        entry_point=entry_point,
    )


def split_name(name: str) -> tuple[str | None, str]:
    """Split ``connector-directory`` into (connector, directory); ``directory`` gives (None, directory)."""
    kind, separator, rest = canonical(name).partition("-")
    return (kind, rest) if separator and rest and kind in KINDS else (None, canonical(name))
