"""The server's host over HTTP: its models, whatever of them is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from semantik_pipeline.models.inventory import inventory
from tests.integration.api.conftest import Api
from tests.integration.conftest import Pipeline, texts


def encoders(api: Api) -> list[dict[str, Any]]:
    """The models of those who embed."""
    models: list[dict[str, Any]] = api.good(api.get("/host/models"))["models"]
    return [one for one in models if any(not user.startswith("searches") for user in one["used_by"])]


def test_an_encoder_that_is_disabled_is_missing_and_says_why(make_api: Callable[..., Api]) -> None:
    [found] = encoders(make_api(disabled=("dense-local", "recursive")))
    assert (found["plugin"], found["state"], found["used_by"]) == ("dense-local", "missing", ["new collections"])
    assert "disabled" in found["reason"]


def test_a_model_that_no_plugin_has_is_missing_and_says_why(make_api: Callable[..., Api]) -> None:
    collection = {"embedding": {"model": "no/such-model"}, "sparse": {"model": "no-such-one"}}
    dense, sparse = encoders(make_api(collection=collection, disabled=("learned-sparse", "dense-local")))
    assert (dense["name"], dense["plugin"], dense["state"]) == ("no/such-model", None, "missing")
    assert "No plugin supports the model" in dense["reason"]
    assert (sparse["name"], sparse["plugin"], sparse["state"]) == ("no-such-one", "learned-sparse", "missing")


def test_an_encoder_of_a_collection_that_is_disabled_is_missing_too(
    make_pipeline: Callable[..., Pipeline], tmp_path: Path
) -> None:
    before = make_pipeline()
    before.folder(texts(tmp_path / "notes", one="Some words."))
    before.runtime.close()
    [found] = [one for one in inventory(make_pipeline(disabled=("fake-embedder",)).runtime) if one.state == "missing"]
    assert (found.plugin, found.used_by) == ("fake-embedder", ("collection default",))
