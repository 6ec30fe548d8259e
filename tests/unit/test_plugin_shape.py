"""The shape of a plugin class: what is enough, what is not, and what the error says."""

from __future__ import annotations

from abc import ABCMeta

import pytest

from semantik_pipeline.contracts import KINDS, ConnectorPlugin, EmbeddingPlugin, RerankerPlugin, SemanticPlugin
from semantik_pipeline.errors import PluginLoadError
from semantik_pipeline.plugins.shape import accepted, check_shape, conform, kind_of


class Bare:
    PLUGIN_ID = "bare"

    async def embed_texts(self, texts, **kwargs):
        return [[1.0, 2.0] for _ in texts]


def made(**members) -> type:
    return type("Odd", (), {"PLUGIN_ID": "odd", **members})


def test_the_least_that_each_contract_demands_is_enough():
    assert kind_of(Bare, None) == "embedding"
    check_shape(Bare, "embedding")


@pytest.mark.parametrize("kind", KINDS)
def test_each_base_alone_is_not_enough_and_the_error_says_what_is_missing(kind):
    base, ways = KINDS[kind]
    with pytest.raises(PluginLoadError) as caught:
        check_shape(type("Empty", (base,), {"PLUGIN_ID": "empty"}), kind)
    assert any(all(name in caught.value.message for name in way) for way in ways)


def test_a_bare_class_gets_the_defaults_of_its_kind():
    whole = conform(Bare, "embedding")
    plugin = whole({"model": "m"})
    assert isinstance(plugin, EmbeddingPlugin)
    assert plugin.config == {"model": "m"}
    assert plugin.count_tokens(["abcdefgh"]) == [2]
    assert whole.get_manifest().id == "bare"
    assert whole.__name__ == "Bare"


def test_a_class_of_another_metaclass_or_with_the_common_base_conforms_too():
    async def rerank(self, query, documents):
        return []

    abstract = ABCMeta("Abstract", (), {"PLUGIN_ID": "abstract", "rerank": rerank})

    class Halfway(SemanticPlugin):
        PLUGIN_ID = "halfway"

        async def rerank(self, query, documents): ...

    for cls in (abstract, Halfway):
        assert issubclass(conform(cls, "reranker"), RerankerPlugin)


def test_a_subclass_of_the_base_stays_itself():
    class Whole(EmbeddingPlugin):
        PLUGIN_ID = "whole"

        async def embed_texts(self, texts): ...

    assert conform(Whole, "embedding") is Whole


def test_either_way_of_a_connector_will_do():
    class Pair(ConnectorPlugin):
        PLUGIN_ID = "pair"

        async def enumerate(self, cursor=None): ...

        async def fetch(self, reference): ...

    check_shape(Pair, "connector")
    with pytest.raises(PluginLoadError, match=r"load_documents|fetch"):
        check_shape(type("Half", (ConnectorPlugin,), {"enumerate": Pair.enumerate}), "connector")


@pytest.mark.parametrize(
    ("members", "kind", "says"),
    [
        (
            {"rerank": lambda self, query: []},
            "reranker",
            ["rerank(self, query, documents", "found rerank(self, query)"],
        ),
        ({"rerank": lambda self, query, documents, top_k: []}, "reranker", ["'top_k'", "default"]),
        ({"rerank": lambda self, query, documents, *, region: []}, "reranker", ["'region'", "default"]),
        ({"parse": property(lambda self: b"")}, "parser", ["parse", "property"]),
        ({"parse": lambda self, content: 1, "__init__": lambda self: None}, "parser", ["__init__(self, config=None)"]),
        ({"parse": lambda self, content: 1, "__init__": lambda self, config, url: None}, "parser", ["__init__", "url"]),
        ({"parse": lambda self, content: 1, "initialize": lambda self, device: None}, "parser", ["'device'"]),
        ({"embed_texts": lambda self, texts: 1, "count_tokens": lambda self: 1}, "embedding", ["count_tokens"]),
    ],
)
def test_a_wrong_signature_is_told_with_what_was_expected(members, kind, says):
    with pytest.raises(PluginLoadError) as caught:
        check_shape(made(**members), kind)
    assert all(part in str(caught.value) for part in says), str(caught.value)


@pytest.mark.parametrize(
    "rerank",
    [
        lambda self, query, documents: [],
        lambda self, *args, **kwargs: [],
        lambda self, q, d, top_k=3: [],
        lambda self, query, documents, **options: [],
        staticmethod(lambda query, documents: []),
        classmethod(lambda cls, query, documents: []),
    ],
)
def test_fewer_options_and_other_names_are_fine(rerank):
    check_shape(made(rerank=rerank), "reranker")


def test_an_unknown_or_unclear_kind_is_told_with_the_kinds():
    with pytest.raises(PluginLoadError, match=r"'banana'.*connector, parser"):
        kind_of(made(PLUGIN_TYPE="banana"), None)
    with pytest.raises(PluginLoadError, match="no PLUGIN_TYPE"):
        kind_of(made(), None)
    assert kind_of(made(), "parser") == "parser"


def test_options_that_a_method_does_not_take_are_left_out():
    options = {"mode": 1, "batch_size": 2}
    assert accepted(lambda texts: 0, options) == {}
    assert accepted(lambda texts, mode=0: 0, options) == {"mode": 1}
    assert accepted(lambda texts, **rest: 0, options) == options


def test_a_connector_that_authenticates_is_no_auth_plugin():
    async def authenticate(self, *request): ...

    def load_documents(self, source_id=None): ...

    assert kind_of(made(authenticate=authenticate), None) == "auth"
    assert kind_of(made(authenticate=authenticate, load_documents=load_documents), None) == "connector"
