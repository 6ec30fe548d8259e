"""Compare an export with this installation: which plugins it needs, and which results would differ here."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from semantik_pipeline import configurations, generations
from semantik_pipeline.documents import short_hash
from semantik_pipeline.errors import UnsupportedContent
from semantik_pipeline.generations.configuration import plugin_versions
from semantik_pipeline.plugins.host import PluginHost
from semantik_pipeline.stages.parsing import chosen


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A collection as it is created here. ``recomputed`` tells which stages must process it again, and why."""

    config: dict[str, Any]
    frozen: dict[str, Any]
    fingerprints: dict[str, Any]
    plugins: dict[str, str]
    dimension: int
    chunks_alike: bool
    extracts_alike: bool
    embeds_alike: bool
    recomputed: tuple[str, ...]
    warnings: tuple[str, ...]

    def made(self) -> dict[str, Any]:
        """Return the arguments for the ledger's ``create_collection``."""
        told = {"config": self.config, "frozen": self.frozen, "fingerprints": self.fingerprints}
        return {**told, "dimension": self.dimension, "plugins": self.plugins}

    def stage_of(self, stage: str) -> str:
        """Return the stage where a unit begins here that was at ``stage`` in the export.

        An indexed unit whose results are all alike needs only its points.
        """
        if stage != "indexed" or not self.chunks_alike:
            return "chunk"
        if not self.extracts_alike:
            return "extract"
        return "upsert" if self.embeds_alike else "embed"

    def embed_key(self, text: str) -> str:
        """Return the key under which a model input's embedding is stored here."""
        return short_hash(self.fingerprints["embed"], text)

    def parse_key(self, host: PluginHost, document: Mapping[str, Any]) -> str | None:
        """Return the key of a document's parse by a parser here; None if no parser supports the document."""
        about = {"media_type": document["media_type"], "file_path": document["file_path"]}
        with suppress(UnsupportedContent):
            parsers = host.registry.of_kind("parser")
            return chosen(parsers, self.frozen, self.fingerprints, document["content_hash"], **about)[1]
        return None


def _without_missing(host: PluginHost, search: dict[str, Any]) -> list[str]:
    """Remove plugins that are not loaded here from the search configuration. Returns a warning for each."""
    warnings = []
    for part, kind in (("rerankers", "reranker"), ("postprocessors", "postprocessor")):
        here = {plugin.id for plugin in host.registry.of_kind(kind)}
        chain = search.get(part) or []
        named = [one["plugin"] for one in map(configurations.chosen_plugin, chain)]
        if missing := [name for name in named if name not in here]:
            search[part] = [one for one, name in zip(chain, named, strict=True) if name in here] or None
            warnings += [f"the {kind} {name} is not loaded here; searches go without it" for name in missing]
    return warnings


def fit(host: PluginHost, manifest: Mapping[str, Any]) -> Fit:
    """Compare an export's manifest with the loaded plugins.

    Raises PluginNotFoundError or PluginConfigError if a plugin is missing without which nothing can be indexed or
    searched.
    """
    warnings = []
    config, frozen = copy.deepcopy(manifest["config"]), copy.deepcopy(manifest["generation"]["config"])
    there = manifest["generation"]["fingerprints"]
    here_parsers = {plugin.id for plugin in host.registry.of_kind("parser")}
    options = frozen["parsers"]["options"]
    for name in sorted(set(options) - here_parsers):
        del options[name]
        config.get("parsers", {}).get("options", {}).pop(name, None)
        warnings.append(f"the parser {name} is not loaded here; documents that need it can't be parsed again")
    reranker = config.get("default_reranker")
    reranker_id = reranker.get("plugin") if isinstance(reranker, Mapping) else reranker
    if reranker_id is not None and reranker_id not in {plugin.id for plugin in host.registry.of_kind("reranker")}:
        config["default_reranker"] = None
        warnings.append(f"the reranker {reranker_id} is not loaded here; the one in the settings is used")
    warnings += _without_missing(host, config.get("search") or {})
    complete = generations.complete(host, config)
    here = generations.fingerprints(host, frozen)
    parsers = sorted(name for name, one in here["parse"].items() if there["parse"].get(name) != one)
    extractors = sorted(name for name, one in here["extract"].items() if there["extract"].get(name) != one)
    chunks_alike = not parsers and there["chunk"] == here["chunk"]
    embeds_alike = there["embed"] == here["embed"]
    recomputed = []
    if not chunks_alike:
        what = f"the parser {', '.join(parsers)}" if parsers else f"the chunker {frozen['chunking']['plugin']}"
        recomputed.append(f"chunks: {what} gives different results here")
    if extractors:
        recomputed.append(f"extractions: {', '.join(extractors)} gives different results here")
    if not embeds_alike:
        recomputed.append(f"embeddings: {frozen['embedding']['plugin']} gives different vectors here")
    return Fit(
        config=complete,
        frozen=frozen,
        fingerprints=here,
        plugins=plugin_versions(host, frozen),
        dimension=int(manifest["generation"]["dimension"]),
        chunks_alike=chunks_alike,
        extracts_alike=not extractors,
        embeds_alike=embeds_alike,
        recomputed=tuple(recomputed),
        warnings=tuple(warnings),
    )
