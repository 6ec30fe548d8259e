"""Checks of plugins and models: those in use must be enabled, loaded and able to work here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from semantik_pipeline import generations
from semantik_pipeline.configurations import chosen_plugin
from semantik_pipeline.doctor.examination import Check, Patient
from semantik_pipeline.doctor.findings import Finding, broken, warn, well
from semantik_pipeline.ledger.catalog.collections import Generation
from semantik_pipeline.plugins import administer
from semantik_pipeline.plugins.administer import PluginInfo
from semantik_pipeline.plugins.state import canonical
from semantik_pipeline.search.rerank_choice import chosen_rerankers

#: Seconds for importing all plugins on a busy host.
LOADING = 30.0

#: Seconds for asking each plugin, in addition to the time limit of health checks.
ASKING = 10.0


def look_at_state(patient: Patient) -> Iterator[Finding]:
    """Check that the shared state file can be read and plugins can be loaded as it says."""
    host = patient.runtime.host  # raises for a broken state file, with a remedy
    patient.plugins = True
    file = patient.runtime.settings.state_file
    told = f"{file}, revision {host.state.revision}" if file.exists() else f"none ({file}): all plugins are enabled"
    yield well("plugin state", told)


def look_at_plugins(patient: Patient) -> Iterator[Finding]:
    """Check that plugins in use are loaded and healthy, and report others that are broken."""
    settings = patient.runtime.settings
    infos = administer.list_plugins(
        settings.state_file, health=True, timeout=settings.plugin.health_timeout, offered=settings.offered
    )
    used = in_use(patient)
    loaded = [info for info in infos if info.status == "loaded"]
    yield well("plugins", f"{len(loaded)} loaded, {len(used)} in use")
    found = {canonical(info.id): info for info in sorted(infos, key=lambda info: info.status == "loaded")}
    for name in sorted(used):
        info = found.get(canonical(name))
        if info is None:
            yield broken(f"plugin {name}", "in use, but no installed package has it", "Install its package.")
    for info in infos:
        yield from _plugin(info, in_use=canonical(info.id) in {canonical(name) for name in used})


def _plugin(info: PluginInfo, *, in_use: bool) -> Iterator[Finding]:
    what, reason = f"plugin {info.id}", info.reason or "no reason is given"
    judge = broken if in_use else warn
    if info.status == "disabled" and in_use:
        yield broken(what, "in use, but disabled", f"Run `semantik plugins enable {info.id}` and restart workers.")
    elif info.status == "failed":
        yield judge(what, f"can't be loaded: {reason}", f"Fix it, or run `semantik plugins disable {info.id}`.")
    elif info.status == "conflict":
        yield warn(what, f"two packages have it: {reason}", "Uninstall one of them.")
    elif info.health == "unhealthy" and (in_use or info.config):
        yield judge(what, reason, f"`semantik plugins show {info.id}` shows its options.")


def in_use(patient: Patient) -> set[str]:
    """Return the ids of plugins that collections, sources or the settings name."""
    settings = patient.runtime.settings
    postprocessors = {str(chosen_plugin(one).get("plugin")) for one in settings.search.postprocessors}
    found = {*settings.search.rerankers, *postprocessors, *patient.connectors}
    found.add(settings.store.plugin or ("qdrant" if settings.qdrant.url else "qdrant-edge"))
    for generation in patient.generations:
        found |= set(_named(generation.config))
        found |= {one.plugin for one in chosen_rerankers(None, generation.config, settings.search.reranker)}
    return found


def _named(config: dict[str, Any]) -> Iterator[str]:
    """Yield the plugin ids in a generation's configuration.

    Its parser options list every parser that was installed, so only parsers that a media type maps to count.
    """
    yield config["chunking"]["plugin"]
    yield from (encoder["plugin"] for encoder in generations.encoders_of(config))
    for level in ("chunk", "document"):
        yield from (choice["plugin"] for choice in config["extraction"][level])
    yield from config["parsers"]["by_media_type"].values()


def look_at_models(patient: Patient) -> Iterator[Finding]:
    """Check that each collection's models are available and are those that its index was built with."""
    for generation in patient.generations:
        kinds = ("model", "sparse model")
        for kind, encoder in zip(kinds, generations.encoders_of(generation.config), strict=False):
            yield _model(patient, generation, f"{kind} of {generation.collection!r}", encoder)


def _model(patient: Patient, generation: Generation, what: str, choice: dict[str, Any]) -> Finding:
    host, settings = patient.runtime.host, patient.runtime.settings
    if choice["plugin"] not in host.registry:
        return broken(what, f"its plugin {choice['plugin']} is not loaded", "`semantik plugins list` shows why.")
    health = administer.check_health(host, choice["plugin"], settings.plugin.health_timeout, choice["options"])
    if str(health.status) == "unhealthy":
        return broken(what, health.reason or "unhealthy", f"`semantik plugins show {choice['plugin']}` shows more.")
    told = health.reason or choice["plugin"]
    refusal = generations.refusal(host, generation, "embed")
    if refusal is not None:
        return warn(
            what, refusal, "Install what the index was built with; until then, workers here leave it to others."
        )
    return well(what, f"{told}, as when the index was built")


STATE = Check(
    name="plugin state", look=look_at_state, seconds=LOADING, remedy="`semantik plugins list` shows what is loaded."
)

CHECKS = (
    Check(
        name="plugins",
        look=look_at_plugins,
        seconds=ASKING,
        remedy="`semantik plugins list --health` checks each of them.",
        of_plugins=True,
    ),
    Check(
        name="models",
        look=look_at_models,
        seconds=ASKING,
        remedy="`semantik plugins list --type embedding --health` checks them.",
        of_ledger=True,
        of_plugins=True,
    ),
)
