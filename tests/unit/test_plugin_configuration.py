"""Configurations of plugins: precedence, validation, secrets, the environment, fingerprints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.contracts import EmbeddingPlugin
from semantik_pipeline.errors import PluginConfigError, PluginLoadError
from semantik_pipeline.plugins.configuration import (
    effective_config,
    fingerprint_of,
    normalise_schema,
    redact,
    resolve_env,
    schema_of,
    shaping_options,
    validate_config,
)
from semantik_pipeline.plugins.registry import LoadedPlugin
from semantik_pipeline.plugins.secrets import REDACTED, has_secret_shape, is_secret_name, scrub
from semantik_pipeline.plugins.state import PluginState

SCHEMA = {
    "type": "object",
    "properties": {
        "model": {"type": "string", "default": "small"},
        "dimension": {"type": "integer", "minimum": 1},
        "batch_size": {"type": "integer", "default": 32, "x-operational": True},
        "endpoint": {"type": "string", "x-operational": True},
        "api_key": {"type": "string", "secret": True},
        "precision": {"enum": ["fp32", "bf16"]},
    },
}

# Made of pieces, so that no scanner takes this file for a leak.
CREDENTIALS = [
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "sk-" + "proj-abcdefghij1234567890",
    "sk-" + "ant-api03-abcdefghij1234567890",
    "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEF12",
    "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "xoxb-" + "123456789012-123456789012-abcdefABCDEF",
    "sk_live_" + "abcdefghijklmnopqrstuvwx",
    "glpat-" + "abcDEF1234567890abcd",
    "https://user:" + "hunter2secret@example.org/path",
    "-----BEGIN RSA " + "PRIVATE KEY-----\nabcdefghijklmnop",
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "SG." + "abcdefghijklmnopqrstuv." + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ",
    "12345678" + "90:" + "AAabcdefghijklmnopqrstuvwxyzABCDEFG",
    "pypi-" + "AgEIcHlwaS5vcmc" + "a1" * 40,
    "AccountKey=" + "Ab1+" * 21 + "Ab==",
]
HARMLESS = [
    "sentence-transformers/all-MiniLM-L6-v2",
    "/home/ada/papers/2024/transformers_and_attention.pdf",
    "http://10.0.0.7:6333/collections",
    "https://example.org:8443/v1/embeddings",
    "C:\\Users\\Ada\\Documents",
    "the quick brown fox jumps over the lazy dog",
    "c32c7e1f-0d4e-4ba1-9f0e-8a6f6e0f7a1b",
    "text-embedding-3-small",
]


def loaded(schema=SCHEMA, plugin_id="embedder") -> LoadedPlugin:
    class Embedder(EmbeddingPlugin):
        PLUGIN_ID = plugin_id

        async def embed_texts(self, texts, **kwargs): ...

        @classmethod
        def get_config_schema(cls):
            return schema

    return LoadedPlugin(
        id=plugin_id, kind="embedding", cls=Embedder, manifest=Embedder.get_manifest(), origin="test 1", builtin=False
    )


def state(**options) -> PluginState:
    return PluginState(configs={"embedder": options})


# -- schemas ----------------------------------------------------------------------------------------------------------


def test_a_flat_map_becomes_a_json_schema():
    flat = {"api_key": {"type": "string", "secret": True, "required": True}, "properties": {"type": "int"}}
    assert normalise_schema(flat) == {
        "type": "object",
        "properties": {"api_key": {"type": "string", "secret": True}, "properties": {"type": "integer"}},
        "required": ["api_key"],
        "additionalProperties": False,
    }


def test_a_json_schema_is_closed_unless_it_says_otherwise():
    assert normalise_schema({"type": "object", "properties": {}})["additionalProperties"] is False
    assert normalise_schema({"type": "object", "additionalProperties": True})["additionalProperties"] is True
    assert normalise_schema(None) is None


def test_a_flat_map_may_have_a_field_called_type():
    assert set(normalise_schema({"type": {"type": "string"}})["properties"]) == {"type"}


def test_normalising_twice_is_normalising_once():
    once = normalise_schema(SCHEMA)
    assert normalise_schema(once) == once


def test_a_schema_that_is_none_is_the_plugins_fault():
    with pytest.raises(PluginLoadError, match="not a valid JSON Schema"):
        effective_config(loaded({"type": "object", "properties": {"a": {"type": "nonsense"}}}), state(a=1))


# -- precedence -------------------------------------------------------------------------------------------------------


def test_defaults_then_state_file_then_given():
    plugin = loaded()
    assert effective_config(plugin, PluginState()) == {"model": "small", "batch_size": 32}
    assert effective_config(plugin, state(model="medium", batch_size=8))["model"] == "medium"
    found = effective_config(plugin, state(model="medium", batch_size=8), {"model": "large"})
    assert found == {"model": "large", "batch_size": 8}


def test_frozen_options_shape_and_the_present_state_file_operates():
    stated = state(model="medium", dimension=3, batch_size=8, endpoint="http://new", api_key_env="KEY")
    found = effective_config(loaded(), stated, {"model": "frozen"}, frozen=True)
    assert found == {"model": "frozen", "batch_size": 8, "endpoint": "http://new", "api_key_env": "KEY"}
    assert effective_config(loaded(), stated, {}, frozen=True)["model"] == "small"


def test_a_reference_and_its_option_replace_each_other():
    open_key = {"properties": {"endpoint": {"type": "string", "x-operational": True}}, "type": "object"}
    plugin = loaded(open_key)
    assert effective_config(plugin, state(endpoint="http://a"), {"endpoint_env": "URL"}) == {"endpoint_env": "URL"}
    assert effective_config(plugin, state(endpoint_env="URL"), {"endpoint": "http://a"}) == {"endpoint": "http://a"}


# -- validation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"modell": "x"}, ["'modell'", "'model'?"]),
        ({"model": 3}, ["'model'", "expected text", "3"]),
        ({"dimension": 0}, ["'dimension'", "expected 1 or more", "Give a whole number of 1 or more"]),
        ({"precision": "int8"}, ["'precision'", "'fp32', 'bf16'", "Choose one of fp32, bf16"]),
        ({"batch_size": "many"}, ["'batch_size'", "expected a whole number", "The default is 32."]),
    ],
)
def test_a_wrong_option_is_named_with_what_is_expected(options, says):
    with pytest.raises(PluginConfigError) as caught:
        effective_config(loaded(), PluginState(), options)
    assert all(part in str(caught.value) for part in ["'embedder'", *says])


def test_a_required_option_may_come_from_the_environment():
    plugin = loaded({"api_key": {"type": "string", "secret": True, "required": True}})
    with pytest.raises(PluginConfigError, match="needs the option 'api_key'"):
        effective_config(plugin, PluginState())
    assert effective_config(plugin, state(api_key_env="KEY")) == {"api_key_env": "KEY"}


def test_without_a_schema_any_option_passes_but_no_secret():
    plugin = loaded(None)
    assert effective_config(plugin, PluginState(), {"anything": [1, {"a": 2}]}) == {"anything": [1, {"a": 2}]}
    with pytest.raises(PluginConfigError, match="raw secret"):
        effective_config(plugin, PluginState(), {"password": "hunter2"})


# -- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["key", "api_key", "apiKey", "API-KEY", "x.token", "client_secret", "db_password", "passphrase", "credential"],
)
def test_names_that_say_secret(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["max_tokens", "keyboard", "key_env", "token_count", "monkey", "secretary", "model"])
def test_names_that_do_not(name):
    assert not is_secret_name(name)


@pytest.mark.parametrize("value", CREDENTIALS)
def test_credential_shapes_are_refused_and_never_repeated(value):
    assert has_secret_shape(value)
    with pytest.raises(PluginConfigError) as caught:
        validate_config("embedder", None, {"note": {"deep": [value]}})
    assert value not in str(caught.value)
    assert "note_env" in caught.value.hint
    assert value not in str(redact({"note": {"deep": [value]}}))
    assert scrub(f"refused: {value} !") == f"refused: {REDACTED} !" or "PRIVATE KEY" in value
    assert value[-12:] not in scrub(f"refused: {value}")


@pytest.mark.parametrize("value", HARMLESS)
def test_what_only_looks_odd_passes(value):
    assert not has_secret_shape(value)
    assert scrub(value) == value


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": "anything"},
        {"nested": {"auth_token": "anything"}},
        {"many": [{"password": "x"}]},
        {"credentials": {"user": "ada", "pin": 1234}},
        {"declared": "anything"},
        {"formatted": "anything"},
        {"api_key_env": "sk-" + "proj-abcdefghij1234567890"},
        {"api_key_env": "not a name"},
    ],
)
def test_raw_secrets_are_refused(options):
    schema = normalise_schema(
        {
            "declared": {"type": "string", "secret": True},
            "formatted": {"type": "string", "format": "password"},
        }
    )
    with pytest.raises(PluginConfigError) as caught:
        validate_config("p", schema, options)
    assert "anything" not in str(caught.value)


def test_redacting_hides_secrets_and_shows_names_of_variables():
    options = {"api_key": "abc", "api_key_env": "KEY", "model": "m", "max_tokens": 3, "deep": {"token": "t", "x": 1}}
    assert redact(options) == {
        "api_key": REDACTED,
        "api_key_env": "KEY",
        "model": "m",
        "max_tokens": 3,
        "deep": {"token": REDACTED, "x": 1},
    }


# -- the environment ---------------------------------------------------------------------------------------------------


def test_a_reference_is_resolved_beside_itself(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "s3cret")
    assert resolve_env({"api_key_env": "SOME_KEY", "a": 1}) == {"api_key_env": "SOME_KEY", "api_key": "s3cret", "a": 1}


def test_a_declared_reference_is_resolved_in_its_place(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "s3cret")
    schema = normalise_schema({"api_key": {"type": "string", "format": "env_var_reference"}})
    validate_config("p", schema, {"api_key": "SOME_KEY"})
    assert resolve_env({"api_key": "SOME_KEY"}, schema) == {"api_key": "s3cret"}


def test_an_unset_variable_is_named(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(PluginConfigError, match="NO_SUCH_KEY"):
        resolve_env({"api_key_env": "NO_SUCH_KEY"}, plugin_id="p")
    assert resolve_env({"api_key_env": "NO_SUCH_KEY"}, strict=False) == {"api_key_env": "NO_SUCH_KEY"}


# -- fingerprints ------------------------------------------------------------------------------------------------------


def test_only_what_shapes_the_output_is_in_the_fingerprint():
    schema = schema_of(loaded())
    options = {"model": "m", "batch_size": 8, "endpoint": "http://x", "api_key_env": "KEY", "dimension": 3}
    assert shaping_options(options, schema) == {"model": "m", "dimension": 3}


def test_a_shaping_option_from_the_environment_counts_by_its_value(monkeypatch):
    schema = schema_of(loaded())
    monkeypatch.setenv("MODEL", "large")
    assert shaping_options({"model_env": "MODEL"}, schema) == {"model": "large"}
    found = effective_config(loaded(), state(model_env="MODEL"), {"model": "frozen"}, frozen=True)
    assert shaping_options(found, schema) == {"model": "frozen"}


PARTS = st.tuples(
    st.text(max_size=5),
    st.text(max_size=5),
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
    st.none() | st.text(max_size=5),
    st.lists(st.text(max_size=5), max_size=3),
)


@given(PARTS, PARTS)
def test_fingerprints_are_equal_exactly_when_their_parts_are(one, two):
    def mark(parts):
        return fingerprint_of(*parts[:4], *parts[4])

    assert (mark(one) == mark(two)) == (one == two)
    assert len(mark(one)) == 32
    turned = dict(reversed(one[2].items()))
    assert mark((one[0], one[1], turned, one[3], one[4])) == mark(one)


EITHER = {
    "type": "object",
    "anyOf": [
        {"required": ["urls"], "properties": {"urls": {"minItems": 1}}},
        {"required": ["maps"], "properties": {"maps": {"minItems": 1}}},
    ],
    "properties": {
        "urls": {"type": "array", "items": {"type": "string", "pattern": "^https://"}, "default": []},
        "maps": {"type": "array", "items": {"type": "string"}, "default": []},
    },
}


def test_of_options_of_which_one_is_needed_all_are_named_and_a_pattern_is_told() -> None:
    schema = normalise_schema(EITHER)
    for options in ({}, {"urls": [], "maps": []}):
        with pytest.raises(PluginConfigError, match="needs one of the options urls, maps"):
            validate_config("web", schema, options)
    with pytest.raises(PluginConfigError, match=r"'urls\[0\]'.*: 'ftp:' is not a URL; write https://"):
        validate_config("web", schema, {"urls": ["ftp:"], "maps": []})
    validate_config("web", schema, {"urls": ["https://a"], "maps": []})
