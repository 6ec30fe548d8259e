"""Lists the models, where they are and who uses them. The plugins themselves report where they find a model's files."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline import generations
from semantik_pipeline.contracts.models import MARKS, ModelFiles, find_model, place_of, pulled
from semantik_pipeline.errors import PipelineError, PluginError, PluginLoadError, PluginNotFoundError, UsageError
from semantik_pipeline.ledger.catalog import collections as ledger_collections
from semantik_pipeline.models.checking import contents, size_of
from semantik_pipeline.plugins.configuration import schema_of
from semantik_pipeline.search.rerank_choice import chosen_rerankers
from semantik_pipeline.search.rerank_options import reranker_options

if TYPE_CHECKING:
    from semantik_pipeline.plugins.host import PluginHost
    from semantik_pipeline.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model and the state of its files. ``size`` in bytes.

    ``state`` is ``known`` (hashes are on record), ``incomplete`` (hashes are on record, but files are missing),
    ``unknown`` (no hashes), ``missing`` (``reason`` says where it was looked for, or that the encoder's plugin is not
    loaded) or ``elsewhere`` (on a server, so there are no local files).
    """

    name: str
    plugin: str | None
    files: ModelFiles | None
    state: str
    size: int | None = None
    reason: str | None = None
    used_by: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        files = self.files
        return {
            "name": self.name,
            "plugin": self.plugin,
            "origin": files.origin if files else None,
            "path": str(files.path) if files else None,
            "revision": files.revision if files else None,
            "size": self.size,
            "state": self.state,
            "reason": self.reason,
            "used_by": list(self.used_by),
        }


def inventory(runtime: Runtime) -> list[Model]:
    """The models used by collections, rerankers and new collections, then any others in the models folder."""
    found: dict[tuple[str, str | None], Model] = {}
    for plugin, options, kind, user in _uses(runtime):
        if (one := _used(runtime.host, plugin, options, kind)) is None:
            continue
        key = one.name, str(one.files.path) if one.files else one.plugin
        before = found.get(key, one)
        found[key] = replace(before, used_by=(*before.used_by, user))
    there = {str(one.files.path) for one in found.values() if one.files}
    rest = [one for one in stored(runtime.settings.models_dir) if str(one.path) not in there]
    return [*found.values(), *(_described(files.name, None, files) for files in rest)]


def where(host: PluginHost, name: str) -> ModelFiles:
    """The files that a plugin would read for a model of this name.

    Raises PluginLoadError, which says where it looked and what to do; PluginError if no plugin that reads models is
    loaded; and UsageError for an empty name, which would otherwise mean the default model.
    """
    if not name.strip():
        raise UsageError("The name of the model is empty.", "`semantik models list` shows the names.")
    for loaded in (*host.registry.of_kind("embedding"), *host.registry.of_kind("reranker")):
        options = (schema_of(loaded) or {}).get("properties", {})
        if {"model", "models_dir"} <= set(options):
            files: ModelFiles | None = host.light(loaded.id, {"model": name}, kind=loaded.kind).model_files()
            if files is not None:
                return files
    raise PluginError("No plugin that reads local models is loaded.", "`semantik plugins list` shows why.")


def why(files: ModelFiles, folder: Path) -> str:
    """Why these files are used."""
    order = (
        f"searched in this order: a folder of that name, the models folder {folder}, a package, the Hugging Face cache"
    )
    place = place_of(folder, files.name)
    commits = len(pulled(place)) if place and files.revision and folder in files.path.parents else 0
    first = f"; the first downloaded of {commits} commits, unless a collection's `revision` names another" * (
        commits > 1
    )
    return f"{files.origin}{first} ({order})"


def stored(folder: Path) -> list[ModelFiles]:
    """Every model in the models folder, with each commit listed separately."""
    found = []
    for place in _places(folder):
        name = place.relative_to(folder).as_posix()
        commits = [manifest.revision for _, manifest in pulled(place)]
        wanted = [None] if any((place / mark).is_file() for mark in MARKS) else commits
        found += [files for commit in wanted if (files := find_model(folder, name, commit)) is not None]
    return found


def _places(folder: Path) -> list[Path]:
    """Folders of models, ``NAME`` and ``OWNER/NAME``, but not a Hugging Face cache in the same folder."""
    if not folder.is_dir():
        return []
    visible = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    deeper = [path for owner in visible for path in sorted(owner.iterdir()) if path.is_dir()]
    return [
        path
        for path in (*visible, *deeper)
        if any((path / mark).is_file() for mark in MARKS) or any(path.glob("*.json"))
    ]


def _uses(runtime: Runtime) -> Iterable[tuple[str | None, dict[str, Any], str, str]]:
    """``(plugin, options, kind, user)`` of every configured encoder, dense or sparse, and every configured reranker."""
    default = runtime.settings.search.reranker
    with runtime.ledger.read() as tx:
        live = ledger_collections.list_generations(tx)
    for generation in live:
        embedding, user = generation.config["embedding"], f"collection {generation.collection}"
        for encoder in generations.encoders_of(generation.config):
            yield encoder["plugin"], encoder["options"], "embedding", user
        for one in chosen_rerankers(None, generation.config, default):
            options = {"of": embedding, "own": one.options}
            yield one.plugin, options, "reranker", f"searches of {generation.collection}"
    if not live:
        encoders = generations.wanted_encoders(dict(runtime.settings.collection))
        embedding, *sparse = [_frozen(runtime.host, encoder) for encoder in encoders]
        for encoder in (embedding, *sparse):
            yield encoder["plugin"], encoder["options"], "embedding", "new collections"
        for one in chosen_rerankers(None, {}, default):
            yield one.plugin, {"of": embedding if embedding["plugin"] else None, "own": {}}, "reranker", "searches"


def _frozen(host: PluginHost, encoder: dict[str, Any]) -> dict[str, Any]:
    """An encoder as a new generation would store it. On failure it is unchanged, and :func:`_used` reports why."""
    plugin, options = encoder["plugin"], encoder.get("options") or {}
    with suppress(PipelineError):
        plugin = plugin or host.supports_model(options["model"])
        options = host.frozen_config(plugin, options)
    return {"plugin": plugin, "options": options}


def _used(host: PluginHost, plugin: str | None, options: dict[str, Any], kind: str) -> Model | None:
    """The model that a plugin uses with these options; None for a plugin without a model."""
    name = str(options.get("model") or plugin)
    try:
        plugin = plugin or host.supports_model(name)
        if kind == "reranker":
            options = reranker_options(host, plugin, options["own"], options["of"])
        light = host.light(plugin, options, frozen=kind == "embedding", kind=kind)
        files = light.model_files()
        if files is None and not light.config.get("model"):
            return None
        name = str(light.config.get("model") or name)
    except PipelineError as error:
        # Without its encoder's plugin, a collection is as unusable as without the model. A search works without a
        # reranker.
        no_encoder = kind == "embedding" and isinstance(error, PluginNotFoundError | UsageError)
        state = "missing" if no_encoder or isinstance(error, PluginLoadError) else "unknown"
        return Model(name=name, plugin=plugin, files=None, state=state, reason=str(error))
    return _described(name, plugin, files)


def _described(name: str, plugin: str | None, files: ModelFiles | None) -> Model:
    if files is None:
        return Model(name=name, plugin=plugin, files=None, state="elsewhere")
    lacking = files.sha256.keys() - dict(contents(files.path))
    state = "incomplete" if lacking else "known" if files.sha256 else "unknown"
    return Model(name=name, plugin=plugin, files=files, state=state, size=size_of(files.path))
