"""Tell how a collection's active generation differs from what a reindex would build now.

A difference does not keep the generation from working.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import PipelineError
from semantik_pipeline.generations.configuration import complete, fingerprints, freeze, plugin_versions
from semantik_pipeline.ledger.catalog import collections, lineage

if TYPE_CHECKING:
    from semantik_pipeline.plugins.host import PluginHost
    from semantik_pipeline.runtime import Runtime


def outdated(runtime: Runtime, collection: str) -> list[str]:
    """Return the reasons why a reindex would build a different index now, one line per reason; empty if it would not.

    A reason is another configuration, another version of a plugin, or a plugin that would give other results.
    """
    with runtime.ledger.read() as tx:
        found = collections.get_collection(tx, collection)
        active = lineage.active(tx, found.id)
    return reasons(runtime.host, found.config, active)


def reasons(host: PluginHost, wanted: dict[str, Any], active: lineage.Record) -> list[str]:
    """Return the reasons, as :func:`outdated` does, for a wanted configuration and the active generation."""
    try:
        config, _ = freeze(host, complete(host, wanted))  # as a reindex does, because there may be new defaults
        here = fingerprints(host, active.config)
    except PipelineError as error:
        return [f"can't be compared here: {error}"]
    found = [f"configuration: {line}" for line in differences(active.config, config)]
    versions = plugin_versions(host, active.config)
    newer = {
        plugin: f"{plugin}: built with {built}, {versions[plugin]} is installed"
        for plugin, built in (active.plugins or {}).items()
        if plugin in versions and versions[plugin] != built
    }
    found += newer.values()
    for stage in changed_stages(active.fingerprints, here):
        if not any(stage.endswith(f" {plugin}") for plugin in newer):
            found.append(f"{stage} gives other results than it did")
    return found


def changed_stages(built: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Return the stages, or plugins of a stage, whose fingerprints differ: ``chunk``, ``extract patterns``."""
    changed = []
    for stage in ("parse", "chunk", "extract", "embed"):
        before, after = built.get(stage), here.get(stage)
        if isinstance(before, dict) and isinstance(after, dict):
            names = sorted({*before, *after})
            changed += [f"{stage} {name}" for name in names if name in before and before[name] != after.get(name)]
        elif before != after:
            changed.append(stage)
    return changed


#: Parts of a configuration that shape the content of a generation.
SHAPING = ("parsers", "chunking", "extraction", "embedding", "sparse")


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the differences between two frozen configurations, as ``chunking.options.max_tokens: 200 → 150``."""
    lines: list[str] = []
    for part in SHAPING:
        _differ(part, before.get(part), after.get(part), lines)
    return lines


def _differ(name: str, before: Any, after: Any, lines: list[str]) -> None:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            _differ(f"{name}.{key}", before.get(key), after.get(key), lines)
    elif before != after:
        lines.append(f"{name}: {_short(before)} → {_short(after)}")


def _short(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(one, dict) and "plugin" in one for one in value):
        return f"[{', '.join(one['plugin'] for one in value)}]"
    return "not set" if value is None else str(value)
