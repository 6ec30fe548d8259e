"""Chooses the rerankers of a search, in order: the query's, else its collection's, else those of the settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from semantik_pipeline.configurations import LONGEST_CHAIN
from semantik_pipeline.errors import UsageError

MAX_CHAIN = LONGEST_CHAIN["rerankers"]


@dataclass(frozen=True, kw_only=True)
class ChosenReranker:
    """A reranker of a search. ``named``: the query names it."""

    plugin: str
    options: dict[str, Any] = field(default_factory=dict)
    named: bool = False


def chosen_rerankers(
    named: str | Sequence[str] | None, collection: Mapping[str, Any], default: str | Sequence[str]
) -> tuple[ChosenReranker, ...]:
    """Return the chain; the first reranker reads the most candidates.

    A collection's configuration has it in ``search.rerankers``, a list, or in ``default_reranker``, a single entry. An
    entry is ``"ID"`` or ``{"plugin": "ID", "options": {…}}``; without ``plugin`` it means the settings' first reranker.
    An empty list means no reranker. The collection's options apply also if the query names the reranker. Raises
    UsageError for an invalid chain.
    """
    fallback = names_of(default)
    listed = _listed(collection)
    own = [_entry(one, fallback[0]) for one in listed or ()]
    if named is None:
        return tuple(ChosenReranker(plugin=name) for name in fallback) if listed is None else tuple(own)
    options = {one.plugin: one.options for one in own}
    return tuple(ChosenReranker(plugin=name, options=options.get(name, {}), named=True) for name in names_of(named))


def names_of(named: str | Sequence[str]) -> list[str]:
    """Return the ids of a chain. Raises UsageError if there is none, if there are too many, or if one occurs twice."""
    names = [named] if isinstance(named, str) else list(named)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise UsageError("No reranker is named.", "Name one or several, in their order, or set rerank to false.")
    if len(names) > MAX_CHAIN:
        raise UsageError(f"A search can use at most {MAX_CHAIN} rerankers; this one names {len(names)}.", "Name fewer.")
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise UsageError(
            f"The reranker {twice[0]!r} is named twice.", "Name it once; it would give the same scores again."
        )
    return names


def read_by(place: int, candidates: int) -> int:
    """Return how many candidates the reranker at this place of a chain reads.

    It reads half as many as the one before, but at least 20 if there are that many. So the expensive rerankers, which
    come last, read what the cheap ones found best.
    """
    for _ in range(place):
        candidates = min(candidates, max(20, -(-candidates // 2)))
    return candidates


def _listed(collection: Mapping[str, Any]) -> Sequence[Any] | None:
    chain = (collection.get("search") or {}).get("rerankers")
    one = collection.get("default_reranker")
    return chain if chain is not None else None if one is None else [one]


def _entry(one: Any, default: str) -> ChosenReranker:
    said: Mapping[str, Any] = {"plugin": one} if isinstance(one, str) else one
    return ChosenReranker(plugin=said.get("plugin") or default, options=dict(said.get("options") or {}))
