"""The killable child: whatever a plugin does there, it harms its own request alone."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from semantik_pipeline.errors import (
    ChildCrashed,
    ChildOutOfMemory,
    ChildTimeout,
    PermanentError,
    PluginError,
    ServiceUnavailable,
    StateFileError,
    UnsupportedContent,
)
from semantik_pipeline.plugins.child import ChildPool
from semantik_pipeline.plugins.child_process import ChildProcess
from semantik_pipeline.plugins.frames import PATIENCE
from semantik_pipeline.plugins.state import PluginState

JOBS = textwrap.dedent(
    """
    import ctypes, mmap, os, subprocess, sys, threading, time
    from semantik_pipeline.errors import UnsupportedContent

    class Custom(Exception):
        pass

    class Picky(Exception):
        def __init__(self, one, two):
            super().__init__("a picky one")

    class Locked(Exception):
        def __init__(self):
            super().__init__("locked")
            self.lock = threading.Lock()

    def add(host, a, b):
        return a + b

    def pid(host):
        return os.getpid()

    def hang(host):
        while True:
            pass

    def hang_with_helper(host, note):
        helper = subprocess.Popen(["sleep", "600"])
        with open(note, "w") as file:
            file.write(str(helper.pid))
        time.sleep(600)

    def quit_hard(host):
        os._exit(7)

    def quit_softly(host):
        sys.exit(3)

    def crash(host):
        ctypes.string_at(0)

    def bomb(host):
        hoard = []
        while True:
            hoard.append(bytearray(50_000_000))

    def map_file(host, path):
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return len(mapped)

    def raise_value(host, text):
        raise ValueError(text)

    def raise_ours(host):
        raise UnsupportedContent("encrypted", "Take the password off.")

    def raise_named(host, name):
        raise {"Custom": lambda: Custom("mine"), "Picky": lambda: Picky(1, 2), "Locked": Locked}[name]()

    def noise(host):
        print("a plugin prints" * 10_000)
        os.write(1, b"and writes" * 10_000)
        return sys.stdin.read()

    def unpicklable(host):
        return threading.Lock()

    def ask(host, name, *args):
        return host.service(name, *args)

    def ask_twice(host, texts):
        return [host.service("length", text) for text in texts]

    def loaded(host):
        return sorted(plugin.kind for plugin in host.registry)

    def host_id(host):
        return os.getpid(), id(host.registry)

    def config_of(host, plugin_id):
        return host.effective_config(plugin_id)

    def heavy(host):
        wanted = ("torch", "celery", "sqlalchemy", "spacy", "numpy", "sentence_transformers", "qdrant_client")
        return [name for name in wanted if name in sys.modules]

    def spin(host, processor, seconds):
        os.sched_setaffinity(0, {processor})
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass

    def nap(host, seconds):
        time.sleep(seconds)
        return os.getpid()

    def open_files(host):
        return sorted(os.readlink(f"/proc/self/fd/{fd}").split(":")[0] for fd in os.listdir("/proc/self/fd")
                      if os.path.exists(f"/proc/self/fd/{fd}") or os.path.islink(f"/proc/self/fd/{fd}"))
    """
)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """A module that parent and child can both import."""
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "child_jobs.py").write_text(JOBS)
    sys.path.insert(0, str(folder))
    try:
        import child_jobs

        yield child_jobs
    finally:
        sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def pool(jobs):
    pool = ChildPool(2, PluginState(), kinds=["parser", "chunking", "extractor"], memory_mb=400)
    yield pool
    pool.close()


def test_a_result_comes_back_and_the_child_is_kept(pool, jobs):
    assert pool.run(jobs.add, 1, 2, deadline=30) == 3
    assert pool.run(jobs.pid, deadline=30) == pool.run(jobs.pid, deadline=30) != os.getpid()


def test_large_values_travel_both_ways(pool, jobs):
    body = os.urandom(5_000_000)
    assert pool.run(jobs.add, body, b"!", deadline=60) == body + b"!"


def test_a_child_loads_its_kinds_once_and_nothing_heavy(pool, jobs):
    assert set(pool.run(jobs.loaded, deadline=30)) == {"parser", "chunking", "extractor"}
    hosts = {pool.run(jobs.host_id, deadline=30) for _ in range(5)}
    assert len(hosts) == len({pid for pid, _ in hosts})
    assert pool.run(jobs.heavy, deadline=30) == []


def test_a_hang_ends_at_the_deadline(pool, jobs):
    before = pool.run(jobs.pid, deadline=30)
    with pytest.raises(ChildTimeout, match=r"hang.*0\.5 s"):
        pool.run(jobs.hang, deadline=0.5)
    assert pool.run(jobs.pid, deadline=30) != before
    assert not psutil.pid_exists(before)


@pytest.mark.parametrize(("share", "seconds"), [(0.5, 0.6), (1.0, 0.3 * PATIENCE)])
def test_waiting_for_a_processor_does_not_count_but_not_forever(pool, jobs, monkeypatch, share, seconds):
    """A child that waits ``share`` of the time for a processor gets the rest of its deadline nevertheless."""
    pool.run(jobs.pid, deadline=30)
    monkeypatch.setattr(ChildProcess, "_waited", lambda self: share * time.monotonic())
    started = time.monotonic()
    with pytest.raises(ChildTimeout):
        pool.run(jobs.hang, deadline=0.3)
    assert seconds <= time.monotonic() - started < seconds + 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how long a process waited for a processor")
def test_the_kernel_says_how_long_a_child_waited(jobs):
    """Two children that are busy on one processor wait for each other."""
    processor = min(os.sched_getaffinity(0))
    pool = ChildPool(2, PluginState(), kinds=[], memory_mb=400)
    try:
        with ThreadPoolExecutor(2) as threads:
            for answer in [threads.submit(pool.run, jobs.spin, processor, 1.0, deadline=30) for _ in range(2)]:
                answer.result()
            assert sum(child._waited() for child in pool._all) > 0.2
    finally:
        pool.close()


def test_what_the_plugin_started_dies_with_it(pool, jobs, tmp_path):
    note = tmp_path / "pid"
    with pytest.raises(ChildTimeout):
        pool.run(jobs.hang_with_helper, str(note), deadline=2)
    await_gone(int(note.read_text()))


def test_a_hard_exit_and_a_segfault_are_crashes_with_their_cause(pool, jobs):
    with pytest.raises(ChildCrashed, match="exit code 7"):
        pool.run(jobs.quit_hard, deadline=30)
    with pytest.raises(ChildCrashed, match="SIGSEGV") as caught:
        pool.run(jobs.crash, deadline=30)
    assert "in crash" in caught.value.child_traceback
    assert pool.run(jobs.add, 1, 2, deadline=30) == 3


def test_a_soft_exit_does_not_end_the_parent(pool, jobs):
    with pytest.raises(PermanentError, match="SystemExit: 3"):
        pool.run(jobs.quit_softly, deadline=30)


def test_a_memory_bomb_is_stopped(pool, jobs):
    with pytest.raises(ChildOutOfMemory, match="400 MiB"):
        pool.run(jobs.bomb, deadline=60)
    assert pool.run(jobs.add, 1, 2, deadline=30) == 3


def test_a_mapped_file_is_no_use_of_memory(pool, jobs, tmp_path):
    """Shared libraries are mapped: those of torch's CUDA build take 3 GB of addresses, and spaCy imports them."""
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(4 << 30)
    assert pool.run(jobs.map_file, str(large), deadline=30) == 4 << 30


def test_an_exception_comes_out_as_itself_with_the_childs_traceback(pool, jobs):
    with pytest.raises(ValueError, match="torn") as caught:
        pool.run(jobs.raise_value, "torn", deadline=30)
    assert "in raise_value" in caught.value.child_traceback
    with pytest.raises(UnsupportedContent, match="encrypted") as caught:
        pool.run(jobs.raise_ours, deadline=30)
    assert caught.value.hint == "Take the password off."
    with pytest.raises(jobs.Custom, match="mine"):
        pool.run(jobs.raise_named, "Custom", deadline=30)


@pytest.mark.parametrize(("name", "text"), [("Picky", "Picky: a picky one"), ("Locked", "Locked: locked")])
def test_an_exception_that_does_not_pickle_is_told_in_words(pool, jobs, name, text):
    with pytest.raises(PermanentError, match=text) as caught:
        pool.run(jobs.raise_named, name, deadline=30)
    assert "in raise_named" in caught.value.child_traceback


def test_an_error_of_a_module_unknown_here_does_not_import_it(pool, jobs, monkeypatch):
    monkeypatch.delitem(sys.modules, "child_jobs")
    with pytest.raises(PermanentError, match=r"child_jobs\.Custom: mine"):
        pool.run(ByName("raise_named"), "Custom", deadline=30)
    assert "child_jobs" not in sys.modules


class ByName:
    """Pickles as ``child_jobs.<name>`` without that module being imported here."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self):
        return eval, (f"getattr(__import__('child_jobs'), {self.name!r})",)


def test_a_result_that_does_not_pickle_will_not_the_next_time_either(pool, jobs):
    with pytest.raises(PermanentError, match="lock"):
        pool.run(jobs.unpicklable, deadline=30)


def test_noise_on_standard_output_harms_nothing(pool, jobs):
    assert pool.run(jobs.noise, deadline=30) == ""
    assert pool.run(jobs.add, 1, 2, deadline=30) == 3


def test_services_are_answered_by_the_parent(pool, jobs):
    here = threading.current_thread()
    seen = []

    def length(text):
        seen.append(threading.current_thread())
        return len(text)

    assert pool.run(jobs.ask_twice, ["a", "bc"], deadline=30, services={"length": length}) == [1, 2]
    assert seen == [here, here]


def test_a_service_that_fails_or_is_not_lent_raises_in_the_child(pool, jobs):
    def broken():
        raise UnsupportedContent("no")

    with pytest.raises(UnsupportedContent, match="no"):
        pool.run(jobs.ask, "broken", deadline=30, services={"broken": broken})
    with pytest.raises(PluginError, match=r"'embed'.*does not offer"):
        pool.run(jobs.ask, "embed", deadline=30)


def test_what_a_service_takes_is_not_the_plugins_time(pool, jobs):
    pool.run(jobs.add, 0, 0, deadline=30)
    answer = pool.run(jobs.ask, "slow", deadline=0.5, services={"slow": lambda: time.sleep(0.8) or "done"})
    assert answer == "done"


def test_as_many_at_once_as_there_are_children(pool, jobs):
    found = []
    threads = [threading.Thread(target=lambda: found.append(pool.run(jobs.nap, 0.2, deadline=30))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 2


def test_a_child_outlives_the_thread_that_asked_first(jobs):
    pool = ChildPool(1, PluginState(), kinds=["parser"], memory_mb=400)
    found = []
    thread = threading.Thread(target=lambda: found.append(pool.run(jobs.pid, deadline=30)))
    thread.start()
    thread.join()
    time.sleep(0.2)  # the kernel's death signal would come now
    assert pool.run(jobs.pid, deadline=30) == found[0]
    pool.close()


def test_a_child_that_was_killed_while_idle_is_replaced(pool, jobs):
    first = pool.run(jobs.pid, deadline=30)
    os.kill(first, signal.SIGKILL)
    await_gone(first)
    assert pool.run(jobs.pid, deadline=30) != first


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_child_inherits_no_file_of_its_parent(jobs, tmp_path):
    with (tmp_path / "lock").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        pool = ChildPool(1, PluginState(), kinds=[], memory_mb=400)
        assert not [name for name in pool.run(jobs.open_files, deadline=30) if str(tmp_path) in name]
        pool.close()


def test_closing_ends_the_children_and_what_they_are_at(jobs):
    pool = ChildPool(1, PluginState(), kinds=["parser"], memory_mb=400)
    child = pool.run(jobs.pid, deadline=30)
    caught = []

    def wait():
        try:
            pool.run(jobs.nap, 600, deadline=900)
        except (ChildCrashed, PluginError) as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not pool_is_busy(pool):
        time.sleep(0.01)
    pool.close()
    thread.join(30)
    assert len(caught) == 1
    await_gone(child)
    with pytest.raises(PluginError, match="closed"):
        pool.run(jobs.pid, deadline=30)


def pool_is_busy(pool) -> bool:
    return bool(pool._all) and not pool._idle


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has larger pipes")
def test_pipes_that_may_not_be_larger_are_used_as_they_are(jobs, monkeypatch):
    change = fcntl.fcntl

    def beyond_the_limit(file, command, *more):
        if command == fcntl.F_SETPIPE_SZ:
            raise PermissionError(errno.EPERM, "beyond pipe-user-pages-soft")
        return change(file, command, *more)

    monkeypatch.setattr(fcntl, "fcntl", beyond_the_limit)
    pool = ChildPool(1, PluginState(), kinds=[], memory_mb=400)
    body = os.urandom(3_000_000)
    assert pool.run(jobs.add, body, b"!", deadline=60) == body + b"!"
    pool.close()


def no_process(*_: object, **__: object) -> None:
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def no_thread(*_: object) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize(
    ("where", "name", "fails"), [(subprocess, "Popen", no_process), (threading.Thread, "start", no_thread)]
)
@pytest.mark.parametrize("starter", ["idle", "none yet"])
def test_a_child_that_cannot_be_started_is_nobodys_fault(jobs, monkeypatch, where, name, fails, starter):
    pool = ChildPool(1, PluginState(), kinds=[], memory_mb=400)
    if starter == "idle":  # a thread that fails is then the one that listens to the child
        pool._starter.submit(int).result()
    with monkeypatch.context() as broken:
        broken.setattr(where, name, fails)
        before = children()
        with pytest.raises(ServiceUnavailable, match="could not start"):
            pool.run(jobs.pid, deadline=30)
        assert children() == before
    assert pool.run(jobs.add, 1, 2, deadline=30) == 3
    pool.close()


def children() -> list[int]:
    """Processes of this one that live."""
    return [one.pid for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]


def test_children_load_what_the_pool_read_at_its_start(jobs, tmp_path):
    path = tmp_path / "plugins.json"
    path.write_text('{"version": 1, "configs": {"text": {}}, "disabled_ids": ["text"]}')
    pool = ChildPool(1, path, kinds=["parser"], memory_mb=400)
    path.write_text('{"version": 1}')
    with pytest.raises(PluginError, match="'text' is disabled"):
        pool.run(jobs.config_of, "text", deadline=30)
    pool.close()


def test_a_broken_state_file_stops_the_pool_at_its_start(tmp_path):
    path = tmp_path / "plugins.json"
    path.write_text("{")
    with pytest.raises(StateFileError):
        ChildPool(1, path, kinds=None, memory_mb=400)


PARENT = """
import sys, threading, time
sys.path.insert(0, sys.argv[1])
import child_jobs
from semantik_pipeline.plugins.child import ChildPool
from semantik_pipeline.plugins.state import PluginState
pool = ChildPool(2, PluginState(), kinds=["parser"], memory_mb=400)
busy = threading.Thread(target=lambda: pool.run(child_jobs.hang, deadline=600), daemon=True)
busy.start()
while not pool._all or pool._idle: time.sleep(0.01)  # until the busy one has it
first = next(iter(pool._all))
idle = pool.run(child_jobs.pid, deadline=30)
while not first._ready: time.sleep(0.01)
time.sleep(0.2)
print(first.pid, idle, flush=True)
time.sleep(600)
"""


def test_children_busy_or_idle_die_with_a_parent_that_is_killed(jobs):
    folder = str(Path(jobs.__file__).parent)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, folder], stdout=subprocess.PIPE, text=True)
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(set(children)) == 2
    assert all(psutil.pid_exists(pid) for pid in children)
    parent.kill()
    parent.wait()
    for pid in children:
        await_gone(pid)


def await_gone(pid: int, seconds: float = 30.0) -> None:
    """Wait until no process of that id works any more; a zombie that nobody reaps counts as gone."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} is still there")
