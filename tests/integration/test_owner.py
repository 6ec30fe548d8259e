"""Who owns a data folder: the process that says so, as long as it lives."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from semantik_pipeline.errors import DataFolderInUse
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings


@pytest.fixture
def runtime(tmp_path):
    with Runtime(load_settings(None, data_dir=tmp_path)) as runtime:
        yield runtime


def test_the_owner_is_named_while_it_owns(runtime):
    assert runtime.owner() is None
    with runtime.own():
        assert runtime.owner()["pid"] == os.getpid()
        with pytest.raises(DataFolderInUse, match=f"process {os.getpid()}"), Runtime(runtime.settings).own():
            pass
    assert runtime.owner() is None


def test_the_note_of_a_dead_process_names_nobody(runtime, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "owner.json").write_text(json.dumps({"pid": gone.pid, "command": "semantik index"}))
    assert runtime.owner() is None


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"pid": null, "command": ""}', '{"pid": 1'])
def test_a_half_written_note_names_nobody(runtime, tmp_path, note):
    (tmp_path / "owner.json").write_text(note)
    assert runtime.owner() is None
