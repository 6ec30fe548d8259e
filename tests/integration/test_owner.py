"""Who owns a data folder: the process that says so, as long as it lives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from semantik_pipeline import fleet
from semantik_pipeline.doctor import Patient
from semantik_pipeline.doctor.stores import look_at_other_indexes
from semantik_pipeline.errors import DataFolderInUse
from semantik_pipeline.ownership import index_name
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
from workers import embedded
from workers.embedded import embedded_worker
from workers.heartbeat import Presence


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


Hosts = Callable[..., Runtime]


@pytest.fixture
def hosts(tmp_path: Path, fresh_ledger_file: Path) -> Iterator[Hosts]:
    """Runtimes over one ledger, each with a data folder of its own."""
    made = []
    shutil.copyfile(fresh_ledger_file, tmp_path / "ledger")

    def host(name: str, **settings: object) -> Runtime:
        url = {"url": f"sqlite:///{tmp_path / 'ledger'}"}
        made.append(Runtime(load_settings(data_dir=tmp_path / name, database=url, **settings)))
        made[-1].worker_id += name
        made[-1].settings.data_dir.mkdir(exist_ok=True)
        return made[-1]

    yield host
    for runtime in made:
        runtime.close()


def at_work(runtime: Runtime) -> Presence:
    """What ``embedded_worker`` does first, and no more."""
    embedded._see_that_the_index_is_the_only_one(runtime)
    presence = Presence(runtime, profile="embedded", queues=("embed",))
    presence.announce()
    return presence


def told(runtime: Runtime) -> list[str]:
    return [finding.message for finding in look_at_other_indexes(Patient(runtime=runtime))]


def test_an_embedded_index_on_a_shared_ledger_belongs_to_one_host(hosts: Hosts) -> None:
    first, second, fleets = hosts("a"), hosts("b"), hosts("c", qdrant={"url": "http://127.0.0.1:1"})
    presence = at_work(first)
    try:
        words = f"process {os.getpid()} on .* is using its own embedded index, .*a/index, with this ledger"
        with pytest.raises(DataFolderInUse, match=f"The {words}.*SEMANTIK_QDRANT_URL"), embedded_worker(second):
            pass
        assert second.stopping.is_set() is False and not (second.settings.data_dir / "index.id").exists()
        [finding], [seen] = told(second), told(fleets)
        assert "a/index" in finding and finding == seen
        assert told(first) == [] and fleet.refuse_second_index(hosts("a")) == [], "the folder has its own lock"
    finally:
        presence.close()
    assert told(fleets) == [], "who has moved to a server is asked no more"


def test_who_indexed_elsewhere_since_is_told_once(hosts: Hosts, caplog: pytest.LogCaptureFixture) -> None:
    first, second = hosts("a"), hosts("b")
    for runtime, others in ((first, 0), (first, 0), (second, 1), (second, 0), (first, 1)):
        caplog.clear()
        assert len(told(runtime)) == others
        at_work(runtime).close()
        warned = [record.message for record in caplog.records if "verify --repair" in record.message]
        assert len(warned) == others and all("was, until 0 minutes ago, using" in one for one in warned)


def test_an_embedded_index_beside_workers_of_a_server_is_refused(hosts: Hosts) -> None:
    worker = Presence(hosts("c", qdrant={"url": "http://127.0.0.1:1"}), profile="all", queues=("embed",))
    worker.announce()
    try:
        with pytest.raises(DataFolderInUse, match="is using another store with this ledger"):
            at_work(hosts("a"))
    finally:
        worker.close()
    at_work(hosts("a")).close()


def test_a_worker_begins_in_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    """As of a program that makes its own runtime."""
    with Runtime(load_settings(data_dir=tmp_path / "new")) as runtime, embedded_worker(runtime):
        assert index_name(tmp_path / "new")
