"""Chooses the postprocessors of a search, in order: those of the query, else of its collection, else of the settings.
Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from semantik_pipeline.configurations import LONGEST_CHAIN, chosen_plugin
from semantik_pipeline.errors import UsageError

MAX_CHAIN = LONGEST_CHAIN["postprocessors"]

_LOOKS_LIKE = 'An entry is "ID", or {"plugin": "ID", "options": {}}; an empty list leaves all out.'


@dataclass(frozen=True, kw_only=True)
class ChosenPostprocessor:
    """A postprocessor of a search. ``named``: the query names it. ``passing``: only this query chose its options, so an
    instance is made for this search alone."""

    plugin: str
    options: dict[str, Any] = field(default_factory=dict)
    named: bool = False
    passing: bool = False


def chosen_postprocessors(
    named: Sequence[Any] | None, collection: Mapping[str, Any], default: Sequence[Any]
) -> tuple[ChosenPostprocessor, ...]:
    """Return the chain, in order.

    An entry is ``"ID"`` or ``{"plugin": "ID", "options": {…}}``. An entry of the query without options gets those that
    the collection, or the settings, give to the same plugin. Raises UsageError for an invalid chain.
    """
    own = (collection.get("search") or {}).get("postprocessors")
    ours = [_entry(one) for one in (default if own is None else own)]
    if named is None:
        return tuple(ours)
    if isinstance(named, str | Mapping) or len(named) > MAX_CHAIN:
        raise UsageError(f"postprocessors is not a list of at most {MAX_CHAIN} plugins.", _LOOKS_LIKE)
    known = {one.plugin: one.options for one in ours}
    return tuple(_asked_for(_entry(one), known) for one in named)


def _asked_for(one: ChosenPostprocessor, known: Mapping[str, dict[str, Any]]) -> ChosenPostprocessor:
    options = one.options or known.get(one.plugin, {})
    passing = bool(options) and options != known.get(one.plugin)
    return ChosenPostprocessor(plugin=one.plugin, options=options, named=True, passing=passing)


def _entry(one: Any) -> ChosenPostprocessor:
    said = chosen_plugin(one)
    plugin, options = said.get("plugin"), said.get("options") or {}
    fits = isinstance(plugin, str) and plugin and isinstance(options, Mapping) and not set(said) - {"plugin", "options"}
    if not fits:
        raise UsageError(f"{one!r} does not name a postprocessor.", _LOOKS_LIKE)
    return ChosenPostprocessor(plugin=str(plugin), options=dict(options))
