"""The shared plugin state file: it round-trips, refuses what is broken, and loses no concurrent change."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.errors import StateFileError
from semantik_pipeline.plugins.state import PluginState, parse_state, read_state, render_state, update_state

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OPTION_NAMES = st.sampled_from(["enabled", "config"]) | st.text()
STATES = st.builds(
    PluginState,
    revision=st.integers(0, 10**9),
    updated_at=st.none() | st.text(),
    disabled_ids=st.frozensets(st.text(max_size=20), max_size=5),
    configs=st.dictionaries(st.text(max_size=20), st.dictionaries(OPTION_NAMES, JSON, max_size=3), max_size=4),
    extra=st.dictionaries(st.text(min_size=1).map(lambda key: f"x-{key}"), JSON, max_size=2),
)


@given(STATES)
def test_a_state_round_trips_through_the_file(state):
    body = render_state(state)
    again = parse_state(body, "plugins.json")
    assert replace(again, digest=state.digest) == state
    assert again.digest == hashlib.sha256(body).hexdigest()
    assert render_state(again) == body


def test_a_missing_file_enables_everything(tmp_path):
    state = read_state(tmp_path / "none.json")
    assert (state.revision, state.disabled_ids, state.configs) == (0, frozenset(), {})
    assert state.digest == hashlib.sha256(b"").hexdigest()


def test_the_older_form_of_a_configuration_is_understood(tmp_path):
    path = tmp_path / "plugins.json"
    configs = {
        "a": {"enabled": False, "config": {"x": 1}},
        "b": {"enabled": True, "config": {"y": 2}},
        "c": {"z": 3},
        "d": {"enabled": False},
    }
    path.write_text(json.dumps({"version": 1, "disabled_ids": ["e"], "configs": configs}))
    state = read_state(path)
    assert state.disabled_ids == {"a", "d", "e"}
    assert state.configs == {"a": {"x": 1}, "b": {"y": 2}, "c": {"z": 3}, "d": {}}


def test_hyphen_and_underscore_are_equal():
    state = PluginState(disabled_ids=frozenset({"my_plugin"}), configs={"other-plugin": {"a": 1}})
    assert state.is_disabled("my-plugin")
    assert state.config_of("other_plugin") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "line 1, column 1"),
        ('{"version": 1,\n "disabled_ids": [}', "line 2, column 19"),
        ("[]", "top level"),
        ('{"version": "1"}', "version"),
        ('{"version": true}', "version"),
        ('{"version": 0}', "version"),
        ('{"version": 2}', "version 2"),
        ('{"revision": -1}', "revision"),
        ('{"disabled_ids": "directory"}', "disabled_ids"),
        ('{"disabled_ids": null}', "disabled_ids"),
        ('{"disabled_ids": ["a", 1]}', "disabled_ids[1]"),
        ('{"configs": []}', "configs"),
        ('{"configs": {"a": 1}}', "configs.a"),
        ('{"configs": {"a": {"enabled": "no", "config": {}}}}', "configs.a.enabled"),
        ('{"configs": {"a": {"enabled": true, "config": []}}}', "configs.a.config"),
        ('{"disabled_ids": ["a"], "disabled_ids": []}', "twice"),
        ('{"configs": {"a": {"x": NaN}}}', "NaN"),
        ("[" * 100_000, "deep"),
    ],
)
def test_a_broken_file_is_an_error_that_names_it(tmp_path, content, named):
    path = tmp_path / "plugins.json"
    path.write_text(content)
    with pytest.raises(StateFileError) as caught:
        read_state(path)
    assert str(path) in caught.value.message
    assert named in str(caught.value)
    assert caught.value.hint


def test_bytes_that_are_no_text_are_named_by_their_place(tmp_path):
    path = tmp_path / "plugins.json"
    path.write_bytes(b'{"version": 1, "x": "\xff"}')
    with pytest.raises(StateFileError, match="byte 21"):
        read_state(path)


def test_a_folder_in_its_place_is_a_state_file_error(tmp_path):
    with pytest.raises(StateFileError, match="can't be read"):
        read_state(tmp_path)


def test_an_update_counts_up_and_keeps_what_it_does_not_know(tmp_path):
    path = tmp_path / "plugins.json"
    path.write_text('{"version": 1, "revision": 7, "note": "ours", "configs": {"a": {"x": 1}}}')
    after = update_state(path, lambda state: replace(state, disabled_ids=frozenset({"b"})))
    assert after == read_state(path)
    assert after.revision == 8
    assert after.updated_at.endswith("Z")
    assert json.loads(path.read_text())["note"] == "ours"
    assert after.configs == {"a": {"x": 1}}


def test_a_change_that_changes_nothing_writes_nothing(tmp_path):
    path = tmp_path / "plugins.json"
    assert update_state(path, lambda state: state).revision == 0
    assert not path.exists()


def test_a_broken_file_is_not_overwritten(tmp_path):
    path = tmp_path / "plugins.json"
    path.write_text("{broken")
    with pytest.raises(StateFileError):
        update_state(path, lambda state: replace(state, disabled_ids=frozenset({"b"})))
    assert path.read_text() == "{broken"


def test_a_failed_change_leaves_the_file_and_no_litter(tmp_path):
    path = tmp_path / "plugins.json"
    path.write_text('{"version": 1}')
    with pytest.raises(ValueError, match="JSON compliant"):
        update_state(path, lambda state: replace(state, configs={"a": {"x": float("nan")}}))
    assert path.read_text() == '{"version": 1}'
    assert {entry.name for entry in tmp_path.iterdir()} <= {"plugins.json", "plugins.json.lock"}


def test_a_symlink_stays_one_and_the_mode_is_kept(tmp_path):
    target, link = tmp_path / "real.json", tmp_path / "plugins.json"
    target.write_text('{"version": 1}')
    target.chmod(0o640)
    link.symlink_to(target)
    update_state(link, lambda state: replace(state, disabled_ids=frozenset({"b"})))
    assert link.is_symlink()
    assert read_state(target).disabled_ids == {"b"}
    assert target.stat().st_mode & 0o777 == 0o640


def add_one(path: Path, name: str) -> None:
    update_state(path, lambda state: replace(state, disabled_ids=state.disabled_ids | {name}))


def test_no_update_of_many_threads_and_processes_is_lost(tmp_path):
    path = tmp_path / "plugins.json"
    code = (
        "import sys; from dataclasses import replace; from semantik_pipeline.plugins.state import update_state\n"
        "for i in range(10):\n"
        "    update_state(sys.argv[1], lambda s: replace(s, disabled_ids=s.disabled_ids | {f'p{sys.argv[2]}-{i}'}))\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, path, str(n)], env=os.environ) for n in range(2)]
    threads = [threading.Thread(target=add_one, args=(path, f"t{n}")) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait() for process in processes] == [0, 0]
    state = read_state(path)
    assert len(state.disabled_ids) == 30
    assert state.revision == 30
