"""Checks that a manifest belongs to its plugin, and that the plugin API and packages it requires are installed."""

from __future__ import annotations

from importlib import metadata

from semantik_pipeline.contracts import PLUGIN_API_VERSION, PluginManifest
from semantik_pipeline.errors import PluginCompatibilityError, PluginLoadError


def check_manifest(manifest: PluginManifest, plugin_id: str, kind: str) -> None:
    """Check a manifest.

    Raises PluginLoadError if its id or type differs from the plugin's, PluginCompatibilityError if a requirement is
    not met.
    """
    for name, said, meant in (("id", manifest.id, plugin_id), ("type", manifest.type, kind)):
        if said != meant:
            raise PluginLoadError(
                f"The manifest of {plugin_id!r} has the {name} {said!r}; expected {meant!r}.", "Make them the same."
            )
    if manifest.semantik_version:
        _check_api(plugin_id, manifest.semantik_version)
    for requirement in manifest.requires:
        _check_requirement(plugin_id, requirement)


def _check_api(plugin_id: str, wanted: str) -> None:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        fits = SpecifierSet(wanted).contains(PLUGIN_API_VERSION, prereleases=True)
    except InvalidSpecifier:
        raise PluginCompatibilityError(
            f"{plugin_id!r} has the semantik_version {wanted!r}, which is not a version specifier.",
            "Write it like '>=2.0,<3'.",
        ) from None
    if not fits:
        raise PluginCompatibilityError(
            f"{plugin_id!r} needs the plugin API {wanted}, but this is {PLUGIN_API_VERSION}.",
            "Install a version of the plugin for this API.",
        )


def _check_requirement(plugin_id: str, text: str) -> None:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise PluginCompatibilityError(
            f"{plugin_id!r} requires {text!r}, which is not a requirement.", "Write it like 'torch>=2.0'."
        ) from None
    if requirement.marker is not None and not requirement.marker.evaluate():
        return
    try:
        installed = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        installed = None
    if installed is None or not requirement.specifier.contains(installed, prereleases=True):
        found = f"{requirement.name} {installed} is installed" if installed else f"{requirement.name} is not installed"
        raise PluginCompatibilityError(
            f"{plugin_id!r} requires {text}, but {found}.", f"Install it: pip install '{text}'"
        )
