"""Loading plugins: candidates and the state file in, a registry and a report out.

Each process does this once, at its start. One entry point that fails harms itself alone; a disabled one is never
imported.
"""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import EntryPoint
from typing import Any

from semantik_pipeline.errors import PipelineError, PluginLoadError
from semantik_pipeline.plugins.compatibility import check_manifest
from semantik_pipeline.plugins.finding import Candidate, find_candidates
from semantik_pipeline.plugins.registry import LoadedPlugin, PluginRegistry
from semantik_pipeline.plugins.secrets import scrub
from semantik_pipeline.plugins.shape import check_shape, conform, kind_of
from semantik_pipeline.plugins.state import PluginState, canonical

LOGGER = logging.getLogger("semantik.plugins")


@dataclass(frozen=True, kw_only=True)
class LoadOutcome:
    """What became of one entry point. ``kind`` is None where only an import could tell it."""

    id: str
    kind: str | None
    origin: str
    builtin: bool
    entry_point: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What became of every entry point. ``skipped`` are enabled ones of kinds that this process does not need."""

    loaded: tuple[LoadOutcome, ...] = ()
    disabled: tuple[LoadOutcome, ...] = ()
    failed: tuple[LoadOutcome, ...] = ()
    conflicts: tuple[LoadOutcome, ...] = ()
    skipped: tuple[LoadOutcome, ...] = ()

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Plain JSON, for the workers' table and the API."""
        return {name: [asdict(outcome) for outcome in outcomes] for name, outcomes in vars(self).items()}


@dataclass
class _Loading:
    """What is known so far while the candidates are gone through in their order."""

    wanted: frozenset[str] | None
    plugins: list[LoadedPlugin] = field(default_factory=list)
    holders: dict[str, Candidate] = field(default_factory=dict)  # canonical id -> who has it
    outcomes: dict[str, list[LoadOutcome]] = field(
        default_factory=lambda: {name: [] for name in ("loaded", "disabled", "failed", "conflicts", "skipped")}
    )

    def note(self, what: str, candidate: Candidate, reason: str | None = None, **known: str) -> None:
        self.outcomes[what].append(
            LoadOutcome(
                id=known.get("id", candidate.id),
                kind=known.get("kind", candidate.kind),
                origin=candidate.origin,
                builtin=candidate.builtin,
                entry_point=candidate.name,
                reason=reason,
            )
        )


def load_plugins(
    state: PluginState, kinds: Iterable[str] | None = None, entry_points: Iterable[EntryPoint] | None = None
) -> tuple[PluginRegistry, LoadReport]:
    """Load what is installed and enabled, of these kinds (None: of all).

    Built-ins come first and keep their ids even where they fail to load, so that no package ever stands in for one; of
    packages, the first that works keeps an id. A later one is a conflict. With ``kinds``, entry points
    whose name says another kind are not imported; they still hold their ids, so that each process sees the same
    winner. ``entry_points`` stands in for what is installed, for tests.
    """
    loading = _Loading(wanted=None if kinds is None else frozenset(kinds))
    for candidate in find_candidates(entry_points):
        _consider(candidate, state, loading)
    report = LoadReport(**{name: tuple(outcomes) for name, outcomes in loading.outcomes.items()})
    for outcome in (*report.failed, *report.conflicts):
        LOGGER.warning("The plugin %s of %s was not loaded: %s", outcome.id, outcome.origin, outcome.reason)
    return PluginRegistry.of(loading.plugins, _absent(report)), report


def _consider(candidate: Candidate, state: PluginState, loading: _Loading) -> None:
    if candidate.complaint:
        return loading.note("failed", candidate, candidate.complaint)
    if candidate.is_disabled(state):
        return loading.note("disabled", candidate, "disabled in the plugin state file")
    if holder := loading.holders.get(candidate.id):
        return loading.note("conflicts", candidate, _conflict(candidate.id, candidate, holder))
    if loading.wanted is not None and candidate.kind is not None and candidate.kind not in loading.wanted:
        loading.holders[candidate.id] = candidate
        return loading.note("skipped", candidate, "not needed by this process")
    try:
        plugin = load_candidate(candidate)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit at import included: it harms this entry point alone
        LOGGER.debug("Loading %s", candidate.name, exc_info=True)
        if candidate.builtin:
            loading.holders[candidate.id] = candidate
        return loading.note("failed", candidate, reason_of(error, candidate))
    return _admit(candidate, plugin, state, loading)


def _admit(candidate: Candidate, plugin: LoadedPlugin, state: PluginState, loading: _Loading) -> None:
    """Take the plugin in under the id that it really has."""
    known = {"id": plugin.id, "kind": plugin.kind}
    holder = loading.holders.get(canonical(plugin.id))
    if state.is_disabled(plugin.id):
        return loading.note("disabled", candidate, "disabled in the plugin state file", **known)
    if holder is not None:
        return loading.note("conflicts", candidate, _conflict(plugin.id, candidate, holder), **known)
    loading.holders[canonical(plugin.id)] = candidate
    if loading.wanted is not None and plugin.kind not in loading.wanted:
        return loading.note("skipped", candidate, "not needed by this process", **known)
    loading.plugins.append(plugin)
    return loading.note("loaded", candidate, **known)


def _conflict(plugin_id: str, loser: Candidate, holder: Candidate) -> str:
    return (
        f"{loser.origin} (entry point {loser.name!r}) and {holder.origin} (entry point {holder.name!r}) both have the "
        f"plugin id {plugin_id!r}; {holder.origin} was found first and keeps it."
    )


def load_candidate(candidate: Candidate) -> LoadedPlugin:
    """Import one entry point and check it. Raises PluginLoadError, or whatever the import raises."""
    cls = candidate.entry_point.load()
    if not inspect.isclass(cls):
        raise PluginLoadError(
            f"The entry point {candidate.name!r} ({candidate.entry_point.value}) is not a class but a {type(cls).__name__}.",
            "Point it at the plugin's class: package.module:Class.",
        )
    plugin_id = getattr(cls, "PLUGIN_ID", None)
    if not isinstance(plugin_id, str) or not plugin_id:
        raise PluginLoadError(f"{cls.__name__} has no PLUGIN_ID.", f"Add PLUGIN_ID = {candidate.id!r} to the class.")
    if not candidate.may_be(plugin_id):
        raise PluginLoadError(
            f"The entry point is named {candidate.name!r}, but {cls.__name__}.PLUGIN_ID is {plugin_id!r}.",
            f"Name the entry point {plugin_id!r}, or change PLUGIN_ID to {candidate.id!r}.",
        )
    kind = kind_of(cls, candidate.kind)
    if candidate.kind not in (None, kind) and canonical(plugin_id) == candidate.id:
        raise PluginLoadError(
            f"The entry point's name {candidate.name!r} says {candidate.kind}, but {cls.__name__}.PLUGIN_TYPE is {kind!r}.",
            f"Name the entry point {kind}-{plugin_id}.",
        )
    check_shape(cls, kind)
    cls = conform(cls, kind)
    manifest = cls.get_manifest()
    check_manifest(manifest, plugin_id, kind)
    return LoadedPlugin(
        id=plugin_id,
        kind=kind,
        cls=cls,
        manifest=manifest,
        origin=candidate.origin,
        builtin=candidate.builtin,
        entry_point=candidate.name,
    )


def reason_of(error: BaseException, candidate: Candidate) -> str:
    """The failure in a line or two: what, and (if it is not one of our own) where in the plugin's code."""
    if isinstance(error, PipelineError):
        return scrub(str(error))
    what = scrub(f"{type(error).__name__}: {error}") if str(error) else type(error).__name__
    ours = ("importlib", __file__)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not any(name in f.filename for name in ours)]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"Importing {candidate.entry_point.value} failed: {what}{where}."


def _absent(report: LoadReport) -> dict[str, tuple[str, str]]:
    """Why an id is not in the registry, and the way out, by canonical id."""
    absent = {}
    for outcome in report.skipped:
        why = f"The {outcome.kind} plugin {outcome.id!r} is not loaded: this process loads other kinds."
        absent[canonical(outcome.id)] = (why, "Ask a worker whose profile has that kind.")
    for outcome in report.disabled:
        why = f"The plugin {outcome.id!r} is disabled."
        absent[canonical(outcome.id)] = (why, f"Enable it with `semantik plugins enable {outcome.id}` and restart.")
    for outcome in report.failed:
        why = f"The plugin {outcome.id!r} of {outcome.origin} could not be loaded: {outcome.reason}"
        absent[canonical(outcome.id)] = (why, f"See `semantik plugins show {outcome.id}`.")
    return absent
