"""The plugins that this process loaded. Immutable: changes to the state file take effect at the next start."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from semantik_pipeline.contracts import PluginManifest, SemanticPlugin
from semantik_pipeline.errors import PluginNotFoundError
from semantik_pipeline.plugins.state import canonical


@dataclass(frozen=True, kw_only=True)
class LoadedPlugin:
    """A plugin class that passed every check; ``origin`` is its distribution and version."""

    id: str
    kind: str
    cls: type[SemanticPlugin]
    manifest: PluginManifest
    origin: str
    builtin: bool
    entry_point: str = ""


@dataclass(frozen=True, kw_only=True)
class PluginRegistry:
    """``plugins`` by canonical id. ``absent`` explains ids that are not loaded: canonical id -> (message, hint)."""

    plugins: Mapping[str, LoadedPlugin] = field(default_factory=dict)
    absent: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, plugins: Iterable[LoadedPlugin], absent: Mapping[str, tuple[str, str]]) -> PluginRegistry:
        by_id = {canonical(plugin.id): plugin for plugin in plugins}
        return cls(plugins=MappingProxyType(by_id), absent=MappingProxyType(dict(absent)))

    def __iter__(self) -> Iterator[LoadedPlugin]:
        return iter(self.plugins.values())

    def __len__(self) -> int:
        return len(self.plugins)

    def __contains__(self, plugin_id: object) -> bool:
        return isinstance(plugin_id, str) and canonical(plugin_id) in self.plugins

    def of_kind(self, kind: str) -> tuple[LoadedPlugin, ...]:
        """The plugins of one kind, built-ins first."""
        return tuple(plugin for plugin in self if plugin.kind == kind)

    def get(self, plugin_id: str, kind: str | None = None) -> LoadedPlugin:
        """Return the plugin.

        Raises PluginNotFoundError, which says whether it is unknown, disabled, failed or of another kind.
        """
        plugin = self.plugins.get(canonical(plugin_id))
        if plugin is None:
            raise self._missing(plugin_id, kind)
        if kind is not None and plugin.kind != kind:
            raise PluginNotFoundError(
                f"The plugin {plugin_id!r} is {_article(plugin.kind)} plugin; {_article(kind)} plugin is needed here.",
                f"Choose one of: {self._names(kind)}.",
            )
        return plugin

    def _alike(self, kind: str | None) -> list[str]:
        """Return ids to suggest for a misspelled one: plugins of that kind, and all ids that are not loaded."""
        return [id for id, plugin in self.plugins.items() if kind in (None, plugin.kind)] + list(self.absent)

    def _missing(self, plugin_id: str, kind: str | None) -> PluginNotFoundError:
        why = self.absent.get(canonical(plugin_id))
        if why is not None:
            return PluginNotFoundError(*why)
        what = f"{kind} plugin" if kind else "plugin"
        near = difflib.get_close_matches(canonical(plugin_id), self._alike(kind), n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Choose one of: {self._names(kind)}."
        return PluginNotFoundError(f"There is no {what} {plugin_id!r}.", hint)

    def _names(self, kind: str | None) -> str:
        names = sorted(plugin.id for plugin in self if kind in (None, plugin.kind))
        return ", ".join(names) or "none"


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
