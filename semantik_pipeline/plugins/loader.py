"""Loads plugins: turns entry points and the plugin state into a registry and a report.

Each process does this once, at its start. An entry point that fails does not affect the others. A disabled one is
never imported.
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
    """The result for one entry point. ``kind`` is None if only an import could tell it."""

    id: str
    kind: str | None
    origin: str
    builtin: bool
    entry_point: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """The results for all entry points. ``skipped`` are enabled plugins of kinds that this process does not need."""

    loaded: tuple[LoadOutcome, ...] = ()
    disabled: tuple[LoadOutcome, ...] = ()
    failed: tuple[LoadOutcome, ...] = ()
    conflicts: tuple[LoadOutcome, ...] = ()
    skipped: tuple[LoadOutcome, ...] = ()

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Return the report as plain JSON values, for the ledger's ``workers`` table and the API."""
        return {name: [asdict(outcome) for outcome in outcomes] for name, outcomes in vars(self).items()}


@dataclass
class _Loading:
    """The state of one load, while the candidates are processed in their order."""

    wanted: frozenset[str] | None
    plugins: list[LoadedPlugin] = field(default_factory=list)
    holders: dict[str, Candidate] = field(default_factory=dict)  # canonical id -> the candidate that owns it
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
    """Load the installed and enabled plugins of these kinds (None: all kinds).

    Built-ins come first and keep their ids even if they fail to load, so that no package can replace one. Among
    packages, the first that loads owns an id; a later one is a conflict. With ``kinds``, entry points whose name gives
    another kind are not imported, but still own their ids, so that every process resolves conflicts in the same way.
    ``entry_points`` replaces the installed entry points, for tests.
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
    except BaseException as error:  # including SystemExit at import: it must not affect other entry points
        LOGGER.debug("Loading %s", candidate.name, exc_info=True)
        if candidate.builtin:
            loading.holders[candidate.id] = candidate
        return loading.note("failed", candidate, reason_of(error, candidate))
    return _admit(candidate, plugin, state, loading)


def _admit(candidate: Candidate, plugin: LoadedPlugin, state: PluginState, loading: _Loading) -> None:
    """Register the plugin under the id that its class declares."""
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
    """Import one entry point and check its class. Raises PluginLoadError, or the exception of the import."""
    cls = candidate.entry_point.load()
    if not inspect.isclass(cls):
        raise PluginLoadError(
            f"The entry point {candidate.name!r} ({candidate.entry_point.value}) is not a class but a "
            f"{type(cls).__name__}.",
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
            f"The entry point's name {candidate.name!r} says {candidate.kind}, but {cls.__name__}.PLUGIN_TYPE is "
            f"{kind!r}.",
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
    """Describe the failure in one or two lines, with the place in the plugin's code unless it is a PipelineError."""
    if isinstance(error, PipelineError):
        return scrub(str(error))
    what = scrub(f"{type(error).__name__}: {error}") if str(error) else type(error).__name__
    ours = ("importlib", __file__)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not any(name in f.filename for name in ours)]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"Importing {candidate.entry_point.value} failed: {what}{where}."


def _absent(report: LoadReport) -> dict[str, tuple[str, str]]:
    """Return, by canonical id, why a plugin is not in the registry and what to do, as (message, hint)."""
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
