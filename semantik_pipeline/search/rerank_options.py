"""Lets a reranker use the collection's embedding model, so that it needs no model of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semantik_pipeline.errors import PluginNotFoundError

Options = dict[str, Any]


def reranker_options(host: Any, reranker: str, given: Options, embedding: Mapping[str, Any] | None) -> Options:
    """Return the reranker's options: those ``given``, and the embedder's model if neither they nor the state file set
    one.

    ``embedding`` is the generation's choice, ``{"plugin": ID, "options": {…}}``. The reranker declares in
    ``EMBEDDER_OPTIONS`` which options it takes from which embedders; with other embedders it keeps its own defaults.
    Raises PluginNotFoundError if the reranker is not loaded.
    """
    shareable = getattr(host.registry.get(reranker, "reranker").cls, "EMBEDDER_OPTIONS", {})
    known = {**host.state.config_of(reranker), **given}
    if not shareable or not embedding:
        return given
    try:
        names = shareable.get(host.registry.get(embedding["plugin"], "embedding").id, ())
        if not names or names[0] in known:
            return given
        theirs = host.effective_config(embedding["plugin"], embedding.get("options"), frozen=True)
    except PluginNotFoundError:  # the embedder is disabled: a search by words alone works without it
        return given
    taken = {name: theirs[name] for name in names if theirs.get(name) is not None and name not in known}
    return {**taken, **given}
