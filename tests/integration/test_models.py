"""``semantik models`` against a hub on loopback: pulled, pinned, checked, copied; cut, forged and offline."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from semantik_pipeline.builtin.embedders.dense_local import DenseLocalEmbedder
from semantik_pipeline.contracts.models import ModelFiles, find_model, place_of
from semantik_pipeline.errors import PermanentError, ServiceUnavailable, UsageError
from semantik_pipeline.models.checking import check, git_blob_of, sha256_of
from semantik_pipeline.models.inventory import stored
from semantik_pipeline.models.pull import pull
from semantik_pipeline.models.selection import needed
from semantik_pipeline.testing.hub_double import HubDouble

NAME, WEIGHTS = "acme/tiny", "model.safetensors"
FIRST, SECOND = "1" * 40, "2" * 40


# -- what is fetched ---------------------------------------------------------------------------------------------------


def test_a_model_needs_one_set_of_weights_and_nothing_of_other_frameworks():
    both = ["config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx", "tf_model.h5", "README.md"]
    assert needed([*both, "1_Pooling/config.json", ".gitattributes"], name="x") == [
        *("config.json", "model.safetensors", "1_Pooling/config.json")
    ]
    pickled = ["config.json", "pytorch_model.bin"]
    with pytest.raises(UsageError, match="--pickles"):
        needed(pickled, name="x")
    assert needed(pickled, name="x", pickles=True) == pickled
    with pytest.raises(UsageError, match="no weights"):
        needed(["config.json"], name="x", pickles=True)


def test_a_pulled_model_is_pinned_checked_and_what_a_plugin_reads(hub: HubDouble, tmp_path: Path):
    folder = tmp_path / "models"
    done = pull(NAME, folder)
    assert (done.fetched, done.files.revision, done.files.path) == (True, FIRST, folder / NAME / FIRST)
    assert sorted(done.files.sha256) == sorted({*hub.fetched}) and WEIGHTS in done.files.sha256
    assert not {"README.md", "pytorch_model.bin", "onnx/model.onnx"} & set(hub.fetched)
    assert check(done.files).state == "ok"
    plugin = DenseLocalEmbedder({"model": NAME, "models_dir": str(folder)})
    assert (plugin.located.origin, plugin.located.path) == ("the models folder", done.files.path)
    assert DenseLocalEmbedder.supports_model(NAME, {"models_dir": str(folder)})
    before = len(hub.fetched)
    assert not pull(NAME, folder, revision=FIRST).fetched
    assert len(hub.fetched) == before
    assert {path.name for path in (folder / NAME).iterdir()} - {f".{FIRST}.lock"} == {FIRST, f"{FIRST}.json"}


def test_a_later_commit_lies_beside_the_first_which_stays_the_one_without_a_revision(hub: HubDouble, tmp_path: Path):
    pull(NAME, tmp_path)
    hub.main = SECOND
    assert pull(NAME, tmp_path, revision="main").files.revision == SECOND
    found = {asked: find_model(tmp_path, NAME, asked) for asked in (None, "main", SECOND, SECOND[:8], "v9")}
    revisions = {asked: one.revision if one else None for asked, one in found.items()}
    assert revisions == {None: FIRST, "main": SECOND, SECOND: SECOND, SECOND[:8]: SECOND, "v9": None}
    assert {one.revision for one in stored(tmp_path)} == {FIRST, SECOND}


@pytest.mark.parametrize("name", ["../../etc", "a/../b", "/etc", "~/x", "a/b/c", ".hidden", ""])
def test_a_name_never_leads_out_of_the_models_folder(tmp_path: Path, name: str):
    assert place_of(tmp_path, name) is None


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_what_the_hub_lists_is_refused_and_fetched_anew(hub: HubDouble, tmp_path: Path):
    hub.forged = {WEIGHTS}
    with pytest.raises(PermanentError, match=WEIGHTS):
        pull(NAME, tmp_path)
    assert find_model(tmp_path, NAME) is None
    hub.forged = {"config.json"}  # small files too
    with pytest.raises(PermanentError, match=r"config\.json"):
        pull(NAME, tmp_path / "other")
    hub.forged = set()
    hub.fetched.clear()
    assert check(pull(NAME, tmp_path).files).state == "ok"
    assert hub.fetched == [WEIGHTS]


def test_a_pull_that_is_killed_leaves_no_model_and_the_next_one_goes_on(hub: HubDouble, tmp_path: Path):
    hub.held = {WEIGHTS}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SEMANTIK_", "HF_"))}
    variables = {**kept, "SEMANTIK_DATA_DIR": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url}
    command = [Path(sys.executable).with_name("semantik"), "models", "pull", NAME]
    cut = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    place = tmp_path / "models" / NAME
    notes = place / f".{FIRST}.part" / ".cache" / "huggingface" / "download"
    whole = ["config.json", "tokenizer.json", "1_Pooling/config.json"]
    until = time.monotonic() + 60
    while not (WEIGHTS in hub.fetched and all((notes / f"{name}.metadata").is_file() for name in whole)):
        assert time.monotonic() < until and cut.poll() is None, cut.communicate()
        time.sleep(0.05)
    cut.send_signal(signal.SIGKILL)
    cut.communicate()
    assert find_model(tmp_path / "models", NAME) is None
    assert stored(tmp_path / "models") == []
    hub.held = set()
    hub.release.set()
    hub.fetched.clear()
    done = pull(NAME, tmp_path / "models")
    assert check(done.files).state == "ok"
    assert WEIGHTS in hub.fetched
    assert not set(whole) & set(hub.fetched)


def test_what_the_hub_lacks_and_a_hub_that_is_away_are_told_apart(
    hub: HubDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from huggingface_hub import constants

    with pytest.raises(UsageError, match="no model 'acme/other'"):
        pull("acme/other", tmp_path)
    with pytest.raises(UsageError, match="no revision 'v9'"):
        pull(NAME, tmp_path, revision="v9")
    with pytest.raises(UsageError, match="OWNER/NAME"):
        pull("../outside", tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ServiceUnavailable, match=r"HF_HUB_OFFLINE.*copy that host's models folder"):
        pull(NAME, tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:9.*copy that host's models folder"):
        pull(NAME, tmp_path)
    assert list(tmp_path.glob("acme")) == []


def test_the_checks_name_what_changed_is_missing_or_was_added(hub: HubDouble, tmp_path: Path):
    files = pull(NAME, tmp_path).files
    weights = bytearray((files.path / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (files.path / WEIGHTS).write_bytes(weights)
    (files.path / "vocab.txt").unlink()
    (files.path / "extra.py").write_text("import os", "utf-8")
    found = check(files)
    assert found.state == "broken"
    assert [problem.split()[0] for problem in found.problems] == ["extra.py", WEIGHTS, "vocab.txt"]
    hub.fetched.clear()
    assert pull(NAME, tmp_path).fetched  # mends it
    assert check(files).state == "ok"


def test_the_cache_is_held_against_its_own_names(tmp_path: Path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / FIRST
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for name, named in (("config.json", git_blob_of), (WEIGHTS, sha256_of)):
        (tmp_path / name).write_bytes(b"content of " + name.encode())
        digest = named(tmp_path / name)
        shutil.move(tmp_path / name, blobs / digest)
        (snapshot / name).symlink_to(blobs / digest)
    files = ModelFiles(name="x", path=snapshot, origin="the cache")
    assert (check(files).state, check(files).files) == ("ok", 2)
    (blobs / hashlib.sha256(b"content of " + WEIGHTS.encode()).hexdigest()).write_bytes(b"another")
    assert [problem.split()[0] for problem in check(files).problems] == [WEIGHTS]
