"""A reranker may work with the collection's own embedding model: then it needs no weights of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semantik_pipeline.errors import PluginNotFoundError

Options = dict[str, Any]


def reranker_options(host: Any, reranker: str, given: Options, embedding: Mapping[str, Any] | None) -> Options:
    """The options ``given`` for the reranker; where they and the state file leave the model open, with the embedder's.

    ``embedding`` is the generation's choice, ``{"plugin": ID, "options": {…}}``. Which options are taken over is the
    reranker's word (``EMBEDDER_OPTIONS``); an embedder that it does not name leaves it with its own defaults. Raises
    PluginNotFoundError if the reranker is not loaded.
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
    except PluginNotFoundError:  # disabled: a search by words alone goes on without it
        return given
    taken = {name: theirs[name] for name in names if theirs.get(name) is not None and name not in known}
    return {**taken, **given}
