"""Which options a reranker takes over from the collection's embedder."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from semantik_pipeline.errors import PluginNotFoundError
from semantik_pipeline.plugins.state import PluginState
from semantik_pipeline.search.rerank_options import reranker_options

SHARES = {"dense": ("model", "revision", "device")}
EMBEDDING = {"plugin": "dense", "options": {"model": "theirs", "prompt": "query: "}}


class Host:
    """Two embedders and two rerankers, of which ``late`` works with the embedder ``dense``."""

    def __init__(self, **stated) -> None:
        self.state = PluginState(configs={"late": stated} if stated else {})
        self.registry = self

    def get(self, plugin_id, kind=None):
        if plugin_id not in ("late", "own", "dense", "remote"):
            raise PluginNotFoundError(f"There is no {kind} plugin {plugin_id!r}.")
        return SimpleNamespace(
            id=plugin_id, cls=type("Late", (), {"EMBEDDER_OPTIONS": SHARES} if plugin_id == "late" else {})
        )

    def effective_config(self, plugin_id, config=None, *, frozen=False, kind=None):
        return {"revision": None, "device": "cpu", **config}


def test_the_embedders_model_and_how_it_is_loaded_are_taken_over():
    assert reranker_options(Host(), "late", {}, EMBEDDING) == {"model": "theirs", "device": "cpu"}


def test_what_is_given_or_stated_stays():
    assert reranker_options(Host(), "late", {"device": "cuda"}, EMBEDDING) == {"model": "theirs", "device": "cuda"}
    assert reranker_options(Host(device="cuda"), "late", {}, EMBEDDING) == {"model": "theirs"}


@pytest.mark.parametrize("given", [{"model": "mine"}, {"model": "mine", "device": "cuda"}])
def test_whoever_has_a_model_takes_nothing_over(given):
    assert reranker_options(Host(), "late", given, EMBEDDING) == given
    assert reranker_options(Host(**given), "late", {}, EMBEDDING) == {}


@pytest.mark.parametrize(
    ("reranker", "embedding"),
    [("own", EMBEDDING), ("late", {"plugin": "remote"}), ("late", {"plugin": "disabled"}), ("late", None)],
)
def test_without_a_common_model_the_reranker_has_its_own_defaults(reranker, embedding):
    assert reranker_options(Host(), reranker, {}, embedding) == {}


def test_an_unknown_reranker_is_named():
    with pytest.raises(PluginNotFoundError, match="nonsense"):
        reranker_options(Host(), "nonsense", {}, EMBEDDING)
