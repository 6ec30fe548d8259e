"""The embedded store under owners, kills, threads, rebuilds and a full disk."""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from semantik_pipeline.builtin.stores import edge_copy, edge_fold, edge_index, edge_optimize, edge_rebuild
from semantik_pipeline.builtin.stores.edge_filters import edge_filter
from semantik_pipeline.builtin.stores.edge_folder import EdgeFolder
from semantik_pipeline.builtin.stores.edge_journal import Journal
from semantik_pipeline.builtin.stores.edge_optimize import Optimizers
from semantik_pipeline.builtin.stores.edge_shard import OpenShard
from semantik_pipeline.builtin.stores.qdrant_edge import QdrantEdgeStore
from semantik_pipeline.documents import IndexSpec, SearchRequest
from semantik_pipeline.errors import DataFolderInUse, PipelineError, StorageFull, TransientError, UsageError
from semantik_pipeline.testing.store_points import SPEC, make_point


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where that can be had: opening and closing indexes syncs many files."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as made:
        yield Path(made) / "index"


@contextmanager
def opened(folder: Path, **options: object) -> Iterator[QdrantEdgeStore]:
    store = QdrantEdgeStore({"path": str(folder), **options})
    asyncio.run(store.initialize())
    try:
        yield store
    finally:
        asyncio.run(store.cleanup())


@contextmanager
def process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Another process running ``code``; it is killed at the end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


_OWNER = """
import asyncio, sys, time
from semantik_pipeline.builtin.stores.qdrant_edge import QdrantEdgeStore
store = QdrantEdgeStore({"path": sys.argv[1]})
asyncio.run(store.initialize())
print("owned", flush=True)
time.sleep(60)
"""

_WRITER = """
import asyncio, sys
from semantik_pipeline.builtin.stores.qdrant_edge import QdrantEdgeStore
from semantik_pipeline.testing.store_points import SPEC, make_point
store = QdrantEdgeStore({"path": sys.argv[1]})
asyncio.run(store.initialize())
store.create_index("one", SPEC)
for start in range(0, 100_000, 10):
    store.insert("one", [make_point(n) for n in range(start, start + 10)])
    store.delete("one", ids=[make_point(start).id])
    print(start + 10, flush=True)
"""


def test_a_second_process_is_told_who_owns_the_folder(folder: Path) -> None:
    with process(_OWNER, folder, "--marker") as owner:
        assert owner.stdout.readline() == "owned\n"
        with pytest.raises(DataFolderInUse, match=rf"process {owner.pid} .*--marker"), opened(folder):
            pass
    with opened(folder) as store:  # a killed owner leaves no lock behind
        assert store.list_indexes() == []


def test_a_second_owner_in_one_process_is_refused_too(folder: Path) -> None:
    with opened(folder), pytest.raises(DataFolderInUse, match=str(os.getpid())), opened(folder):
        pass


@pytest.mark.parametrize("written", [30, 400])
def test_what_was_acknowledged_survives_kill_9(folder: Path, written: int) -> None:
    with process(_WRITER, folder) as writer:
        acknowledged = 0
        while acknowledged < written:
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
    acknowledged = int(rest[-1]) if rest else acknowledged
    with opened(folder) as store:
        found = {item.id for item in store.scroll("one", limit=200_000)[0]}
        kept = {make_point(n).id for n in range(acknowledged) if n % 10}
        assert kept <= found
        assert not {make_point(n).id for n in range(0, acknowledged, 10)} & found
        (hits,) = store.search("one", [SearchRequest(text=f"number{acknowledged - 1}")])
        assert hits[0].id == make_point(acknowledged - 1).id


def test_points_are_there_after_reopening(folder: Path) -> None:
    with opened(folder) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(50)])
    with opened(folder) as store:
        assert store.list_indexes() == ["one"]
        assert store.count("one") == 50
        ((hit,),) = store.search("one", [SearchRequest(text="number17", limit=1)])
        assert hit.id == make_point(17).id


@pytest.mark.parametrize("graph_above", [100_000, 10])
def test_a_rebuild_keeps_everything_and_lets_searches_go_on(folder: Path, graph_above: int) -> None:
    points = [make_point(n, epoch=n % 5) for n in range(3000)]
    legs = [SearchRequest(vector=points[7].vector, limit=5), SearchRequest(text="number17 wing", limit=5)]
    with opened(folder, optimize_above=1000, graph_above=graph_above) as store:
        store.create_index("one", SPEC)
        store.insert("one", points)
        before = store.search("one", legs)
        answers, done = [], threading.Event()

        def search() -> None:
            while not done.is_set():
                answers.append([[hit.id for hit in leg] for leg in store.search("one", legs)])

        searching = threading.Thread(target=search)
        searching.start()
        store.optimize("one")
        done.set()
        searching.join()
        assert (folder / "one" / "rebuilt.json").is_file()
        assert len(answers) > 3
        assert all(answer[0][0] == points[7].id for answer in answers)
        assert [hit.id for hit in store.search("one", legs)[1]][:1] == [before[1][0].id]
        store.insert(
            "one", [make_point(n, epoch=3) for n in range(10)], {"must": [{"key": "epoch", "range": {"lte": 3}}]}
        )
        assert store.count("one", {"must": [{"key": "epoch", "match": {"value": 4}}]}) == 600
        store.delete("one", ids=[points[7].id])
    with opened(folder) as store:
        assert store.count("one") == 2999


def test_updates_go_on_while_a_graph_is_built_and_are_kept(folder: Path) -> None:
    with opened(folder, optimize_above=1000, graph_above=1000) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(3000)])
        rebuilding = threading.Thread(target=store.optimize, args=("one",))
        rebuilding.start()
        written = 3000
        while rebuilding.is_alive():
            store.insert("one", [make_point(written)])
            written += 1
        rebuilding.join()
        assert written > 3000 and store.count("one") == written
        assert json.loads((folder / "one" / "rebuilt.json").read_text())["edges"] == 16, "it has its graph"
        assert list(folder.glob(".one*")) == [] and not (folder / "one" / "updates").exists()
        ((hit,),) = store.search("one", [SearchRequest(text=f"number{written - 1}", limit=1)])
        assert hit.id == make_point(written - 1).id
    with opened(folder) as store:
        assert store.count("one") == written


@pytest.mark.parametrize("graph_above", [1000, 10**6], ids=["graph", "no graph"])
def test_a_rebuilt_index_is_on_the_disk_before_the_old_one_goes(folder: Path, graph_above: int, monkeypatch) -> None:
    """Who loses the power then has one of them whole."""
    synced: dict[int, int] = {}  # inode -> its last change, when it was brought to the disk
    at_swap: list[tuple[set[str], int]] = []
    really_sync, really_swap = os.fsync, EdgeFolder.swap

    def fsync(opened: int) -> None:
        really_sync(opened)
        about = os.fstat(opened)
        synced[about.st_ino] = about.st_mtime_ns

    def swap(self: EdgeFolder, staged: Path, name: str) -> Path:
        files = {path: path.stat() for path in (*staged.rglob("*"), staged)}
        only_in_memory = {str(path) for path, now in files.items() if synced.get(now.st_ino) != now.st_mtime_ns}
        replaced = really_swap(self, staged, name)
        at_swap.append((only_in_memory, len(files)))
        assert synced.get(self.path.stat().st_ino) == self.path.stat().st_mtime_ns, "which name is whose is there, too"
        return replaced

    with opened(folder, optimize_above=1000, graph_above=graph_above) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(1500)])
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(EdgeFolder, "swap", swap)
        store.optimize("one")
    [(only_in_memory, files)] = at_swap
    assert not only_in_memory and files > 10


def test_who_asks_for_an_index_while_another_takes_its_place_waits(folder: Path, monkeypatch) -> None:
    """For a moment its name is nobody's: it was made anew then, empty, and the full one was lost."""
    rename, said = Path.rename, []

    def slow(self: Path, target: Path) -> Path:
        moved = rename(self, target)
        if str(target).endswith(".replaced"):
            asking.start()
            asking.join(0.3)
        return moved

    def ask() -> None:
        said.extend(store.list_indexes())
        store.create_index("one", SPEC)

    with opened(folder, optimize_above=100, graph_above=10**6) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(200)])
        asking = threading.Thread(target=ask)
        monkeypatch.setattr(Path, "rename", slow)
        store.optimize("one")
        asking.join()
        assert said == ["one"] and store.count("one") == 200
    with opened(folder) as store:
        assert store.count("one") == 200


def everything(store: QdrantEdgeStore, name: str) -> list[tuple]:
    points, _ = store.scroll(name, limit=100_000, with_vectors=True)
    return [(point.id, point.payload, [round(float(value), 5) for value in point.vector]) for point in points]


@pytest.mark.parametrize("seed", [1, 2])
def test_an_index_with_a_graph_is_what_it_would_be_without(folder: Path, seed: int, monkeypatch) -> None:
    """Conditional writes, deletions by filter, changed payloads, folds: given to the copy again in their order."""
    rng, begun = random.Random(seed), threading.Event()
    really = Optimizers.optimize

    def optimize(self: Optimizers, name: str, *given, **named) -> None:
        begun.set()
        really(self, name, *given, **named)

    monkeypatch.setattr(Optimizers, "optimize", optimize)
    with opened(folder, optimize_above=1000, graph_above=1000, fold_points=256) as store:
        for name in ("one", "other"):
            store.create_index(name, SPEC)
            store.insert(name, [make_point(n, epoch=n % 5) for n in range(1500)])
        begun.clear()
        rebuilding = threading.Thread(target=store.optimize, args=("one",))
        rebuilding.start()
        assert begun.wait(20)
        done = 0
        while rebuilding.is_alive() or done < 40:
            for change in _changes(rng):
                for name in ("one", "other"):
                    change(store, name)
            done += 1
        rebuilding.join()
        assert (folder / "one" / "rebuilt.json").exists()
        assert everything(store, "one") == everything(store, "other")
        question = [SearchRequest(text="number17 wing", limit=20), SearchRequest(vector=make_point(9).vector, limit=20)]
        texts = [sorted(hit.id for hit in store.search(name, question)[0]) for name in ("one", "other")]
        assert texts[0] == texts[1]
    with opened(folder) as store:
        assert everything(store, "one") == everything(store, "other")


def _changes(rng: random.Random) -> list[Callable[[QdrantEdgeStore, str], None]]:
    """A few updates, of every kind that stages make."""
    first, epoch = rng.randrange(2500), rng.randrange(6)
    points = [make_point(n, epoch=epoch) for n in range(first, first + 20)]
    not_newer = {"must": [{"key": "epoch", "range": {"lte": epoch}}]}
    older = {"must": [{"key": "epoch", "range": {"lt": rng.randrange(3)}}]}
    ids = [point.id for point in points[5:15]]
    return [
        lambda store, name: store.insert(name, points, not_newer),
        lambda store, name: store.set_payload(name, ids, {"colour": str(epoch)}, not_newer),
        lambda store, name: store.delete(name, ids=ids[:3], filter=older),
        lambda store, name: store.delete(name, ids=[points[-1].id]),
    ]


@pytest.mark.parametrize(("longest", "expected"), [(60.0, True), (0.0, False)])
def test_what_a_copy_is_behind_is_made_up_for_or_it_is_dropped(folder: Path, monkeypatch, longest, expected) -> None:
    """However fast updates come: they wait for the rest, if that is not too long."""
    repeat, number, rounds = edge_rebuild._repeat, itertools.count(3000), itertools.count()

    def slowly(home, journal, twin) -> None:
        repeat(home, journal, twin)
        for _ in range(40 if next(rounds) == 0 else 0):  # more than it was behind
            store.insert("one", [make_point(next(number))])

    monkeypatch.setattr(edge_rebuild, "LONGEST_WAIT", longest)
    monkeypatch.setattr(edge_rebuild, "_repeat", slowly)
    really = Optimizers.optimize
    with opened(folder, optimize_above=1000, graph_above=1000) as store:

        def optimize(self: Optimizers, *given, **named) -> None:
            really(self, *given, **named)
            for _ in range(10):
                store.insert("one", [make_point(next(number))])

        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(1000)])
        monkeypatch.setattr(Optimizers, "optimize", optimize)
        store.optimize("one")
        assert (folder / "one" / "rebuilt.json").exists() == expected
        assert store.count("one") == next(number) - 2000
        assert list(folder.glob(".one*")) == []


def test_a_copy_that_catches_up_when_the_process_is_to_end_is_given_up(folder: Path, monkeypatch) -> None:
    repeat, really = edge_rebuild._repeat, Optimizers.optimize
    with opened(folder, optimize_above=1000, graph_above=1000) as store:

        def stop(home, journal, twin) -> None:
            store.stop_optimizing()
            repeat(home, journal, twin)

        def optimize(self: Optimizers, *given, **named) -> None:
            really(self, *given, **named)
            for number in range(1000, 1010):
                store.insert("one", [make_point(number)])

        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(1000)])
        monkeypatch.setattr(Optimizers, "optimize", optimize)
        monkeypatch.setattr(edge_rebuild, "_repeat", stop)
        with pytest.raises(PipelineError, match="closed"):
            store.optimize("one")
        store.insert("one", [make_point(1010)])
        assert store.count("one") == 1011 and list(folder.glob(".one*")) == []
    with opened(folder) as store:
        assert store.count("one") == 1011 and not (folder / "one" / "rebuilt.json").exists()


def test_a_journal_that_lacks_an_update_lets_no_copy_take_the_place_of_the_index(folder: Path, monkeypatch) -> None:
    begun, go = threading.Event(), threading.Event()
    really = Optimizers.optimize

    def optimize(self: Optimizers, *given, **named) -> None:
        begun.set()
        assert go.wait(20)
        really(self, *given, **named)

    with opened(folder, optimize_above=1000, graph_above=1000) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(1000)])
        monkeypatch.setattr(Optimizers, "optimize", optimize)
        rebuilding = threading.Thread(target=store.optimize, args=("one",))
        rebuilding.start()
        assert begun.wait(20)
        with pytest.raises(PipelineError):
            store.insert("one", [replace(make_point(1000), vector=[1.0])])  # refused: is it there?
        store.insert("one", [make_point(1001)])
        with pytest.raises(PipelineError), store._index("one").shard.updating(said=("insert", [], None)):
            raise RuntimeError("the engine")
        go.set()
        rebuilding.join(60)
        assert store.count("one") == 1001 and not (folder / "one" / "rebuilt.json").exists()
        assert list(folder.glob(".one*")) == []


@contextmanager
def held_optimisers(store: QdrantEdgeStore, monkeypatch) -> Iterator[tuple[threading.Thread, threading.Event]]:
    """A thread that optimises ``one``, and has begun with it; it goes on when the event is set."""
    begun, go, really = threading.Event(), threading.Event(), Optimizers.optimize

    def optimize(self: Optimizers, *given, **named) -> None:
        begun.set()
        assert go.wait(20)
        really(self, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Optimizers, "optimize", optimize)
        rebuilding = threading.Thread(target=store.optimize, args=("one",))
        rebuilding.start()
        try:
            assert begun.wait(20)
            yield rebuilding, go
        finally:
            go.set()
            rebuilding.join(60)


def test_of_two_who_optimise_an_index_at_once_one_does_and_no_update_is_lost(folder: Path, monkeypatch) -> None:
    with opened(folder, optimize_above=500, graph_above=500) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(1000)])
        with held_optimisers(store, monkeypatch) as (first, go):
            second = threading.Thread(target=store.optimize, args=("one",))
            second.start()
            second.join(10)
            assert not second.is_alive(), "it waits for no other"
            store.insert("one", [make_point(n) for n in range(1000, 1100)])
            go.set()
            first.join(60)
        assert store.count("one") == 1100
        assert json.loads((folder / "one" / "rebuilt.json").read_text()) == {"points": 1100, "edges": 16}


def test_an_index_whose_copy_can_not_take_its_place_is_where_it_was(folder: Path, monkeypatch) -> None:
    rename = Path.rename

    def no_room(self: Path, target: Path) -> Path:
        if self.name.startswith(".one-"):
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        return rename(self, target)

    with opened(folder, optimize_above=50) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(100)])
        monkeypatch.setattr(Path, "rename", no_room)
        with pytest.raises(StorageFull, match="one"):
            store.optimize("one")
        monkeypatch.undo()
        store.insert("one", [make_point(100)])
        assert store.list_indexes() == ["one"] and store.count("one") == 101
    with opened(folder) as store:
        assert store.count("one") == 101


@pytest.mark.parametrize("written", ["", '{"points": 10', "[]", '{"edges": 16}'])
def test_what_was_damaged_of_an_index_s_last_rebuild_keeps_nobody_from_writing(folder: Path, written: str) -> None:
    with opened(folder, fold_points=64, optimize_above=50) as store:
        store.create_index("one", SPEC)
        (folder / "one" / "rebuilt.json").write_text(written)
        store.insert("one", [make_point(n) for n in range(100)])
        store.optimize("one")
        assert json.loads((folder / "one" / "rebuilt.json").read_text()) == {"points": 100, "edges": 0}


def test_what_a_last_rebuild_was_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    edge_optimize.write_rebuilt(tmp_path, 10, 16)

    def half(self: Path, text: str, encoding: str) -> None:
        self.write_bytes(text.encode()[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="No space"):
        edge_optimize.write_rebuilt(tmp_path, 20, 0)
    assert edge_optimize.last_rebuild(tmp_path) == (10, 16)


def test_a_payload_index_that_is_added_before_an_optimiser_s_turn_is_in_the_copy_s_spec(
    folder: Path, monkeypatch
) -> None:
    wider = replace(SPEC, payload_indexes={**SPEC.payload_indexes, "colour": "keyword"})
    really, asked = EdgeFolder.write_spec, threading.Event()
    copied = threading.Event()
    monkeypatch.setattr(edge_rebuild, "copy", lambda *given: (edge_copy.copy(*given), copied.set()))
    with opened(folder, optimize_above=500) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n, colour="red") for n in range(1000)])
        index, home = store._index("one"), store._folder
        policy = edge_rebuild.RebuildPolicy(above=500, graph_above=10_000, deadline=60)
        rebuilding = threading.Thread(target=edge_rebuild.rebuild, args=(home, index, policy))

        def write_spec(self: EdgeFolder, place: Path, spec: IndexSpec) -> None:
            rebuilding.start()
            asked.set()
            copied.wait(0.5)  # it must not
            assert not copied.is_set()
            really(self, place, spec)

        monkeypatch.setattr(EdgeFolder, "write_spec", write_spec)
        store.create_index("one", wider)
        rebuilding.join(60)
        assert asked.is_set() and (folder / "one" / "rebuilt.json").exists()
        assert store.facet("one", "colour") == [("red", 1000)]
    with opened(folder) as store:
        assert store.facet("one", "colour") == [("red", 1000)]


def test_a_copy_that_can_not_follow_is_told_of_as_the_index(folder: Path, monkeypatch) -> None:
    really = Optimizers.optimize
    with opened(folder, optimize_above=500, graph_above=500) as store:

        def optimize(self: Optimizers, name: str, place: Path, *given, **named) -> None:
            really(self, name, place, *given, **named)
            store.insert("one", [make_point(1000)])
            (place / "shard" / "edge_config.json").write_text("x")  # damaged

        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(1000)])
        monkeypatch.setattr(Optimizers, "optimize", optimize)
        with pytest.raises(TransientError) as raised:
            store.optimize("one")
        assert "index one was not optimised" in str(raised.value)
        said = f"{raised.value} {raised.value.hint}"
        assert ".one" not in said and str(folder) not in said and "Move" not in said
        assert store.count("one") == 1001 and list(folder.glob(".one*")) == []


def test_a_copy_that_lacks_an_update_does_not_catch_up_first(folder: Path, monkeypatch) -> None:
    repeated: list[object] = []
    monkeypatch.setattr(edge_rebuild, "_repeat", lambda *given: repeated.append(given))
    with opened(folder, optimize_above=500, graph_above=500) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(1000)])
        with held_optimisers(store, monkeypatch):
            for number in range(1000, 1020):
                store.insert("one", [make_point(number)])
            with store._index("one").shard.updating():  # one that says nothing
                pass
        assert repeated == [] and store.count("one") == 1020
        assert not (folder / "one" / "rebuilt.json").exists()


def test_a_copy_that_can_not_be_begun_with_leaves_no_journal_behind(folder: Path, monkeypatch) -> None:
    def refuse(self: edge_index.EdgeIndex, place: Path) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with opened(folder, optimize_above=500, graph_above=500) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(1000)])
        monkeypatch.setattr(edge_index.EdgeIndex, "twin", refuse)
        with pytest.raises(TransientError, match="Too many open files"):
            store.optimize("one")
        assert store._index("one").shard.journal is None
        monkeypatch.undo()
        store.optimize("one")
        assert json.loads((folder / "one" / "rebuilt.json").read_text())["edges"] == 16


def test_whoever_gives_up_a_journal_harms_no_update_that_begins(folder: Path) -> None:
    class Fickle(OpenShard):
        """Its journal is given up as soon as somebody has looked at it."""

        seen = 0

        @property
        def journal(self) -> Journal | None:
            self.seen += 1
            return self._noted if self.seen == 1 else None

        @journal.setter
        def journal(self, journal: Journal | None) -> None:
            self._noted = journal

    folder.mkdir(parents=True)
    with opened(folder) as store:
        store.create_index("one", SPEC)
        store._index("one").shard._close()
        shard = Fickle(folder / "one" / "shard")
        shard.journal = Journal(folder / "updates")
        with shard.updating(said=("delete", [], None)):
            pass
        shard.journal = None
        with shard.closed():
            pass
        assert shard.seen == 1


def told_by(store: QdrantEdgeStore, name: str, told: list[Exception]) -> None:
    """Optimise an index, and keep what is raised."""
    try:
        store.optimize(name)
    except PipelineError as error:
        told.append(error)


def running(store: QdrantEdgeStore, work: threading.Thread) -> subprocess.Popen[bytes]:
    """The optimiser that this thread starts."""
    found: list[subprocess.Popen[bytes]] = []
    while not found:
        assert work.is_alive()
        time.sleep(0.001)
        found = list(store._folder.optimizers._running)
    return found[0]


@pytest.mark.parametrize("graph_above", [1000, 100_000])
def test_closing_the_store_ends_an_optimiser_and_leaves_the_index_as_it_was(folder: Path, graph_above: int) -> None:
    with opened(folder, optimize_above=1000, graph_above=graph_above) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(3000)])
        told: list[Exception] = []
        rebuilding = threading.Thread(target=told_by, args=(store, "one", told))
        rebuilding.start()
        child, optimizers = running(store, rebuilding), store._folder.optimizers
    rebuilding.join(20)
    assert len(told) == 1
    assert child.returncode == -signal.SIGKILL
    with opened(folder) as store:
        assert store.count("one") == 3000
    assert not (folder / "one" / "rebuilt.json").exists()
    with pytest.raises(subprocess.SubprocessError, match="closed"):
        optimizers.optimize("one", folder / "one", 0, 60)


@pytest.mark.parametrize("searched", [True, False], ids=["on a copy", "in place"])
@pytest.mark.parametrize("moment", [0.0, 0.02, 0.1, 0.2, 0.3])
def test_a_fold_that_is_given_up_at_any_moment_harms_nothing(folder: Path, moment: float, searched: bool) -> None:
    """The process is to end: whoever writes is through at once, and what it wrote is there."""
    points = [make_point(n) for n in range(3000)]
    with opened(folder, fold_points=2048) as store:
        store.create_index("one", SPEC)
        store.insert("one", points[:2000])
        if searched:
            store.search("one", [SearchRequest(text="number17", limit=1)])
        writer = threading.Thread(target=store.insert, args=("one", points[2000:]))
        writer.start()
        child = running(store, writer)
        time.sleep(moment)
        store.stop_optimizing()
        writer.join(10)
        assert not writer.is_alive() and child.returncode is not None
        assert store.count("one") == 3000
    assert [entry.name for entry in folder.iterdir() if entry.is_dir()] == ["one"]
    with opened(folder, fold_points=64) as store:
        assert store.count("one") == 3000
        for number in (17, 1999, 2500):
            ((hit,),) = store.search("one", [SearchRequest(text=f"number{number}", limit=1)])
            assert hit.id == points[number].id
        store.insert("one", [make_point(n) for n in range(3000, 3100)])  # a fold that may end
        assert store.count("one") == 3100 and not list((folder / "one" / "shard" / "temp_segments").glob("*"))


def test_dropping_an_index_ends_its_optimiser_alone(folder: Path) -> None:
    with opened(folder, optimize_above=1000, graph_above=1000) as store:
        for name in ("one", "two"):
            store.create_index(name, SPEC)
            store.insert(name, [make_point(n) for n in range(3000)])
        rebuilding = threading.Thread(target=told_by, args=(store, "one", []))
        rebuilding.start()
        child = running(store, rebuilding)
        store.drop_index("one")
        rebuilding.join(20)
        assert child.returncode == -signal.SIGKILL
        store.optimize("two")
        assert (folder / "two" / "rebuilt.json").exists()
        assert sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) == ["two"]


def test_what_a_killed_fold_left_half_made_is_gone_after_the_next(folder: Path) -> None:
    with opened(folder, fold_points=10_000) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(500)])
        left = folder / "one" / "shard" / "temp_segments" / "half-made"
        left.mkdir(parents=True)
        (left / "vectors").write_bytes(b"x")
        edge_fold.fold(store._folder, store._index("one"))
        assert store.count("one") == 500
        assert not left.exists()


def test_what_keeps_an_index_from_being_rebuilt_is_told_and_it_stays_as_it_was(folder: Path, monkeypatch) -> None:
    with opened(folder, optimize_above=1000) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(1000)])
        monkeypatch.setattr(edge_copy, "has_room", lambda index: False)
        with pytest.raises(StorageFull, match="one"):
            store.optimize("one")
        monkeypatch.undo()
        said = []
        for code in ("raise OSError(28, 'No space left on device')", "raise ValueError('odd')"):
            monkeypatch.setattr(edge_optimize, "MODULE", ["-c", code])
            with pytest.raises((StorageFull, TransientError)) as raised:
                store.optimize("one")
            said.append(raised.value)
        assert [type(one) for one in said] == [StorageFull, TransientError]
        assert "ValueError: odd" in str(said[1]) and str(folder) not in str(said[1]), "the same words each time"
        assert store.count("one") == 1000 and [entry.name for entry in folder.iterdir() if entry.is_dir()] == ["one"]


def test_a_small_index_is_not_rebuilt(folder: Path) -> None:
    with opened(folder) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(100)])
        store.optimize("one")
        assert not (folder / "one" / "rebuilt.json").exists()


def test_an_index_may_be_dropped_and_the_store_closed_under_searches(folder: Path) -> None:
    with opened(folder) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(n) for n in range(500)])
        seen: list[BaseException] = []

        def search() -> None:
            try:
                while True:
                    store.search("one", [SearchRequest(vector=make_point(1).vector, limit=50)])
            except BaseException as error:
                seen.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        store.drop_index("one")
        for thread in threads:
            thread.join()
        assert [type(error) for error in seen] == [UsageError] * 3
    with pytest.raises(PipelineError, match="not open"):
        store.count("one")


def test_a_disk_below_the_reserve_stops_writing_and_loses_nothing(folder: Path) -> None:
    with opened(folder) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(1)])
    with opened(folder, reserve_mb=10**9) as store:
        with pytest.raises(StorageFull, match="one"):
            store.insert("one", [make_point(2)])
        assert store.count("one") == 1
        store.delete("one", ids=[make_point(1).id])  # making room is always allowed
        assert store.count("one") == 0


def test_no_index_is_begun_on_a_disk_below_the_reserve(folder: Path) -> None:
    with opened(folder, reserve_mb=10**9) as store:
        with pytest.raises(StorageFull, match="one"):
            store.create_index("one", SPEC)
        assert store.list_indexes() == []
    assert not (folder / "one").exists()


def test_remnants_of_a_killed_owner_are_cleared(folder: Path) -> None:
    with opened(folder) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(1)])
    (folder / "one").rename(folder / ".one.replaced")  # killed between the renames of a rebuild
    (folder / ".one-0123").mkdir()  # killed while copying
    (folder / "half").mkdir()  # killed while creating
    with opened(folder) as store:
        assert store.list_indexes() == ["one"]
        assert store.count("one") == 1
        store.create_index("half", SPEC)
        assert store.count("half") == 0
    assert not [entry for entry in folder.iterdir() if entry.name.startswith(".one")]


def test_new_payload_indexes_are_added_and_other_options_refused(folder: Path) -> None:
    with opened(folder) as store:
        store.create_index("one", SPEC)
        store.insert("one", [make_point(1, colour="red")])
        store.create_index("one", replace(SPEC, payload_indexes={**SPEC.payload_indexes, "colour": "keyword"}))
        assert store.facet("one", "colour") == [("red", 1)]
        with pytest.raises(UsageError, match="bm25"):
            store.create_index("one", replace(SPEC, bm25={"k1": 0.9}))
    with opened(folder) as store:
        assert store.facet("one", "colour") == [("red", 1)]


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", ".x", "x" * 300])
def test_odd_names_are_refused(folder: Path, name: str) -> None:
    with opened(folder) as store, pytest.raises(UsageError):
        store.create_index(name, SPEC)


def test_wrong_options_are_named(folder: Path) -> None:
    with opened(folder) as store:
        with pytest.raises(UsageError, match="klingon"):
            store.create_index("one", IndexSpec(dimension=4, bm25={"language": "klingon"}))
        with pytest.raises(UsageError, match="'k3'"):
            store.create_index("one", IndexSpec(dimension=4, bm25={"k3": 1}))
        with pytest.raises(UsageError, match="'colour'"):
            store.create_index("one", IndexSpec(dimension=4, payload_indexes={"x": "colour"}))
        assert store.list_indexes() == []


def test_a_filter_that_legs_share_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    only, other = {"must": [{"key": "n", "match": {"value": 1}}]}, {"must_not": [{"key": "n", "match": {"value": 1}}]}
    with opened(folder) as store:
        store.create_index("one", SPEC)
        points = [make_point(number) for number in range(3)]
        store.insert("one", [replace(point, payload={"n": number}) for number, point in enumerate(points)])
        monkeypatch.setattr(edge_index, "edge_filter", lambda given: read.append(given) or edge_filter(given))
        legs = store.search(
            "one", [SearchRequest(vector=points[0].vector, filter=filter) for filter in (only, only, other, None)]
        )
    assert [sorted(hit.payload["n"] for hit in leg) for leg in legs] == [[1], [1], [0, 2], [0, 1, 2]]
    assert read == [only, other, None]


def test_importing_the_stores_imports_no_engine() -> None:
    code = (
        "import sys, semantik_pipeline.builtin.stores.qdrant_edge, semantik_pipeline.builtin.stores.qdrant;"
        "print(sorted({'qdrant_edge', 'qdrant_client', 'numpy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_new_points_are_folded_into_files_and_nothing_is_lost(folder: Path) -> None:
    wide = replace(SPEC, dimension=384)
    points = [replace(make_point(n), vector=[float(n % 7 + 1), *[1.0] * 383]) for n in range(300)]
    with opened(folder, fold_points=128, slice_points=64) as store:
        store.create_index("one", wide)
        store.insert("one", points)
        assert store.count("one") == 300
        segments = list((folder / "one" / "shard" / "segments").iterdir())
        assert len(segments) > 1  # what was frozen, and what new points go into
        store.delete("one", ids=[points[7].id])
        store.set_payload("one", [points[8].id], {"colour": "red"})
        ((hit,),) = store.search("one", [SearchRequest(text="number17", limit=1)])
        assert hit.id == points[17].id
    with opened(folder) as store:
        assert store.count("one") == 299
        (page, _) = store.scroll("one", {"must": [{"has_id": [points[8].id]}]}, ["colour"])
        assert page[0].payload == {"colour": "red"}


@pytest.mark.parametrize("searched", [True, False])
def test_searches_go_on_during_a_fold_once_somebody_searched(folder: Path, monkeypatch, searched: bool) -> None:
    folding, answered = threading.Event(), threading.Event()

    def optimize(self: Optimizers, name: str, place: Path, *given, **named) -> None:
        folding.set()
        assert (place != folder / "one") == searched
        assert answered.wait(20)
        really(self, name, place, *given, **named)

    really = Optimizers.optimize
    monkeypatch.setattr(Optimizers, "optimize", optimize)
    question = [SearchRequest(text="number17", limit=1)]
    points = [make_point(number) for number in range(100)]
    with opened(folder, fold_points=64, slice_points=16) as store:
        store.create_index("one", SPEC)
        store.insert("one", points[:20])
        if searched:
            store.search("one", question)
        writer = threading.Thread(target=store.insert, args=("one", points[20:]))
        writer.start()
        assert folding.wait(20)
        if searched:
            ((hit,),) = store.search("one", question)
            assert hit.id == points[17].id
        answered.set()
        writer.join(60)
        assert store.count("one") == 100
        ((hit,),) = store.search("one", [SearchRequest(text="number97", limit=1)])
        assert hit.id == points[97].id
        assert [entry.name for entry in folder.iterdir() if entry.is_dir()] == ["one"]  # the copy is gone
    with opened(folder) as store:
        assert store.count("one") == 100


def test_where_the_disk_has_no_room_for_a_copy_searches_wait_for_a_fold(folder: Path, monkeypatch) -> None:
    places: list[Path] = []
    really = Optimizers.optimize
    monkeypatch.setattr(
        Optimizers,
        "optimize",
        lambda self, name, place, *given, **named: places.append(place) or really(self, name, place, *given, **named),
    )
    monkeypatch.setattr(edge_fold, "has_room", lambda index: False)
    with opened(folder, fold_points=64, slice_points=16) as store:
        store.create_index("one", SPEC)
        store.search("one", [SearchRequest(text="number17", limit=1)])
        store.insert("one", [make_point(number) for number in range(70)])
        assert places == [folder / "one"]
        assert store.count("one") == 70


def test_the_log_is_cut_and_an_update_larger_than_one_of_its_files_survives_a_kill(folder: Path) -> None:
    wide = replace(SPEC, dimension=384)
    points = [replace(make_point(n), vector=[float(n % 7 + 1), *[1.0] * 383]) for n in range(64)]
    long = [replace(point, payload={**point.payload, "text": f"{point.id} " * 5000}) for point in points]  # 6 MB
    with opened(folder, fold_points=64, slice_points=32) as store:
        store.create_index("one", wide)
        for _ in range(4):  # a fold flushes after every second, and the engine may cut its log then
            store.insert("one", long[:32])
        store.insert("one", long[32:])  # in the log alone
        log = folder / "one" / "shard" / "wal"
        assert sum(file.stat().st_size for file in log.iterdir()) < 24_000_000
        shutil.copytree(folder / "one", folder / "copy")  # as a kill leaves it
    with opened(folder) as store:
        assert store.count("copy") == 64
        ((hit,),) = store.search("copy", [SearchRequest(text="number47", limit=1)])
        assert hit.id == points[47].id


def test_an_optimiser_without_its_parent_leaves_the_index_alone(folder: Path) -> None:
    with opened(folder) as store:
        store.create_index("one", SPEC)
    module = "semantik_pipeline.builtin.stores.edge_optimize"
    orphan = [sys.executable, "-m", module, str(folder / "one"), "0", "1000", "0", "1"]
    done = subprocess.run(orphan, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "has ended" in done.stderr


class Shown:
    """A hit of an engine that shows its hits in some way of its own."""

    def __init__(self, id: object, shown: str) -> None:
        self.id = id
        self._shown = shown

    def __repr__(self) -> str:
        return self._shown


@pytest.mark.parametrize("shown", ["Hit({id}, 0.5)", "Hit(0.5, {short})", "Hit", "{id}"])
def test_ids_of_hits_are_right_however_the_engine_shows_them(shown: str) -> None:
    ids = [uuid.uuid4() for _ in range(5)]
    hits = [Shown(id, shown.format(id=id, short=id.hex)) for id in ids]
    assert edge_index._ids(hits) == [str(id) for id in ids]
    longer = [Shown(id, "x" * place + shown.format(id=id, short=id.hex)) for place, id in enumerate(ids)]
    assert edge_index._ids(longer) == [str(id) for id in ids]
    assert edge_index._ids([Shown(7, "Hit(7)"), Shown(11, "Hit(11)")]) == ["7", "11"]
    assert edge_index._ids([]) == []
