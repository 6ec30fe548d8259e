"""The connector `directory` among the things that are found in real folders."""

# ruff: noqa: PTH101, PTH118, PTH119, PTH123
# Paths stay strings here as they do in the connector.

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantik_pipeline.builtin.connectors import directory, reading
from semantik_pipeline.builtin.connectors.directory import DirectoryConnector
from semantik_pipeline.builtin.connectors.file_uri import path_of, uri_of
from semantik_pipeline.documents import Complete, DocumentReference
from semantik_pipeline.errors import (
    DocumentGone,
    DocumentUnreadable,
    PluginConfigError,
    SkipDocument,
    TransientError,
)
from semantik_pipeline.testing.connectors import enumerated, fetched, references


def names(root, **config) -> list[str]:
    """Paths, relative to the root, of what is named, in that order."""
    events = enumerated(DirectoryConnector({"path": str(root), **config}))
    return [os.path.relpath(path_of(one.unique_id), root) for one in references(events)]


def why_not(root, name: str, **config) -> str:
    connector = DirectoryConnector({"path": str(root), **config})
    with pytest.raises(SkipDocument) as answer:
        fetched(connector, DocumentReference(uri_of(os.path.join(root, name))))
    return str(answer.value)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "root"
    for name in ("a.md", "b/c.txt", "b/d/e.py", "b/.git/config", ".hidden", "build/out.txt", "z.txt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return root


def test_names_files_in_sorted_order_without_hidden_ones(tree):
    assert names(tree) == ["a.md", "b/c.txt", "b/d/e.py", "build/out.txt", "z.txt"]


def test_hidden_recursive_include_exclude(tree):
    assert names(tree, hidden=True)[0] == ".hidden" and "b/.git/config" in names(tree, hidden=True)
    assert names(tree, recursive=False) == ["a.md", "z.txt"]
    assert names(tree, include=["*.txt"]) == ["b/c.txt", "build/out.txt", "z.txt"]
    assert names(tree, include=["*.txt"], exclude=["build/"]) == ["b/c.txt", "z.txt"]
    assert names(tree, exclude=["b/**", "*.md"]) == ["build/out.txt", "z.txt"]


def test_a_data_folder_of_this_program_is_passed_by_and_is_no_source(tree):
    own = tree / "b" / "own"
    own.mkdir()
    for name in ("owner.lock", "ledger.sqlite3", "admin.key"):
        (own / name).touch()
    assert names(tree) == ["a.md", "b/c.txt", "b/d/e.py", "build/out.txt", "z.txt"]
    with pytest.raises(PluginConfigError, match="own is a data folder of Semantik"):
        names(own)


def test_enumeration_opens_nothing(tree, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a file was opened")

    monkeypatch.setattr(reading.os, "open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    assert len(names(tree)) == 5


def test_a_single_file_is_a_source(tree):
    connector = DirectoryConnector({"path": str(tree / "a.md")})
    (reference,) = references(enumerated(connector))
    document = fetched(connector, reference)
    assert document.metadata["path"] == "a.md"
    assert document.content == b"content of a.md"


def test_metadata_says_where_and_when(tree):
    os.utime(tree / "b/c.txt", (0, 86400))
    connector = DirectoryConnector({"path": str(tree)})
    document = fetched(connector, DocumentReference(uri_of(str(tree / "b/c.txt"))))
    assert document.metadata == {
        "file_name": "c.txt",
        "path": "b/c.txt",
        "extension": ".txt",
        "size": len("content of b/c.txt"),
        "modified": "1970-01-02T00:00:00+00:00",
    }
    assert document.media_type == "text/plain"


def test_a_file_that_may_be_read_again_is_fetched_again(tree):
    def hint(mode):
        (tree / "a.md").chmod(mode)
        return references(enumerated(DirectoryConnector({"path": str(tree / "a.md")})))[0].change_hint

    usual = hint(0o644)
    assert hint(0o755) == usual, "who may write or run it is nothing to an index"
    assert len({usual, hint(0o600), hint(0o000)}) == 3
    assert hint(0o644) == usual


def test_change_hint_follows_size_and_time(tree):
    def hint():
        return references(enumerated(DirectoryConnector({"path": str(tree / "a.md")})))[0].change_hint

    before = hint()
    os.chmod(tree / "a.md", 0o755)
    assert hint() == before
    os.utime(tree / "a.md", ns=(0, 1))
    assert hint() != before


@pytest.mark.parametrize("name", [b"new\nline.txt", b"invalid-\xff\xfe.txt", b"100% #?.txt", "ü 日.txt".encode()])
def test_any_name_survives(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    with open(path, "wb") as file:
        file.write(b"text")
    connector = DirectoryConnector({"path": str(tmp_path)})
    (reference,) = references(enumerated(connector))
    assert reference.unique_id.isprintable() and reference.unique_id.isascii()
    assert os.fsencode(path_of(reference.unique_id)) == path
    document = fetched(connector, reference)
    document.file_path.encode("utf-8")
    assert document.content == b"text"


@given(st.binary(min_size=1, max_size=40))
def test_uris_are_exact_to_the_byte(raw):
    path = os.fsdecode(b"/" + raw)
    assert path_of(uri_of(path)) == path


def test_symlink_loops_end_and_folders_are_walked_once(tree):
    (tree / "b/loop").symlink_to("..")
    (tree / "b/self").symlink_to("self")
    (tree / "again").symlink_to("b")
    found = names(tree)
    assert found == ["a.md", "b/c.txt", "b/d/e.py", "b/self", "build/out.txt", "z.txt"]
    assert "cannot be followed" in why_not(tree, "b/self")


def test_link_to_a_hidden_folder_is_followed_once(tree):
    (tree / ".store").mkdir()
    (tree / ".store/f.txt").write_text("x")
    (tree / ".store/up").symlink_to("..")
    (tree / "link").symlink_to(".store")
    assert "link/f.txt" in names(tree)
    assert names(tree, follow_symlinks=False) == ["a.md", "b/c.txt", "b/d/e.py", "build/out.txt", "z.txt"]


def test_links_within_are_read_and_links_out_refused(tree, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/more.txt").write_text("more")
    (tree / "in.txt").symlink_to("a.md")
    (tree / "out.txt").symlink_to(tmp_path / "secret.txt")
    (tree / "out").symlink_to(tmp_path / "outside")
    (tree / "dangling").symlink_to("nowhere")
    found = names(tree)
    assert "in.txt" in found and "out/more.txt" not in found
    connector = DirectoryConnector({"path": str(tree)})
    assert fetched(connector, DocumentReference(uri_of(str(tree / "in.txt")))).content == b"content of a.md"
    for name in ("out.txt", "out", "out/more.txt"):
        assert "leaves the folder" in why_not(tree, name)
    assert "link to a file that does not exist" in why_not(tree, "dangling")
    assert {"out.txt", "out", "dangling"} <= set(found)


def test_a_link_as_root_is_fine(tree, tmp_path):
    (tmp_path / "alias").symlink_to(tree)
    connector = DirectoryConnector({"path": str(tmp_path / "alias")})
    first = references(enumerated(connector))[0]
    assert first.unique_id == uri_of(str(tmp_path / "alias/a.md"))
    assert fetched(connector, first).content == b"content of a.md"


def test_nothing_outside_is_fetched(tree, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    connector = DirectoryConnector({"path": str(tree)})
    for path in (str(tmp_path / "secret.txt"), str(tree) + "/../secret.txt", str(tree) + "-2/x"):
        with pytest.raises((DocumentGone, SkipDocument)):
            fetched(connector, DocumentReference(uri_of(path)))


def test_fifo_socket_and_device_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        assert names(tmp_path) == ["null", "pipe", "socket"]
        assert "a FIFO" in why_not(tmp_path, "pipe")
        assert "a socket" in why_not(tmp_path, "socket")
    assert "leaves" in why_not(tmp_path, "null")
    assert "a character device" in str(_refusal(lambda: reading.read_file("/dev/null", root="/dev", max_bytes=9)))


def _refusal(call) -> Exception:
    with pytest.raises(SkipDocument) as answer:
        call()
    return answer.value


def test_empty_large_and_vanished(tree):
    (tree / "empty").write_bytes(b"")
    assert "is empty" in why_not(tree, "empty")
    connector = DirectoryConnector({"path": str(tree), "max_bytes": 5})
    with pytest.raises(DocumentUnreadable, match=r"15 bytes; the limit is 5"):
        fetched(connector, DocumentReference(uri_of(str(tree / "a.md"))))
    with pytest.raises(DocumentGone):
        fetched(connector, DocumentReference(uri_of(str(tree / "no/such"))))
    with pytest.raises(DocumentGone):
        fetched(connector, DocumentReference(uri_of(str(tree / "a.md/below"))))


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_a_file_that_can_not_be_read_is_no_file_without_content(tree, monkeypatch, code):
    """Root reads everything, so it is the call that refuses."""

    def refuse(path: str, *flags: int) -> int:
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(os, "open", refuse)
    connector = DirectoryConnector({"path": str(tree)})
    with pytest.raises(DocumentUnreadable, match=r"a\.md") as answer:
        fetched(connector, DocumentReference(uri_of(str(tree / "a.md"))))
    assert answer.value.hint


def test_what_this_process_is_short_of_is_asked_for_again_at_once(tree, monkeypatch):
    def refuse(path: str, *flags: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files", path)

    monkeypatch.setattr(os, "open", refuse)
    connector = DirectoryConnector({"path": str(tree)})
    with pytest.raises(TransientError) as answer:
        fetched(connector, DocumentReference(uri_of(str(tree / "a.md"))))
    assert not isinstance(answer.value, DocumentUnreadable)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_files_that_cannot_be_looked_at_have_not_vanished(tree, monkeypatch, code):
    """As in a folder that may be listed and not entered: an index of it would be emptied otherwise."""
    whole = enumerated(DirectoryConnector({"path": str(tree)}))
    looks = {name: getattr(os, name) for name in ("stat", "lstat")}

    def refuse(name):
        def look(path, *given, **named):
            if str(path).startswith(str(tree / "b") + "/"):
                raise OSError(code, os.strerror(code), path)
            return looks[name](path, *given, **named)

        return look

    for name in looks:
        monkeypatch.setattr(os, name, refuse(name))
    connector = DirectoryConnector({"path": str(tree)})
    events = enumerated(connector)
    assert len(references(events)) < len(references(whole))
    assert events[-1] == Complete(full=False)
    assert [problem.rsplit(":", 1)[0] for problem in connector.problems] == [str(tree / "b"), str(tree / "b" / "d")]


def test_a_folder_that_cannot_be_read_makes_the_enumeration_incomplete(tree, caplog):
    """Deeper than the longest path: unreadable even for root."""
    handle = os.open(tree / "b", os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=handle)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = deeper
    os.close(handle)
    connector = DirectoryConnector({"path": str(tree)})
    events = enumerated(connector)
    assert events[-1] == Complete(full=False)
    assert "z.txt" in [os.path.basename(path_of(one.unique_id)) for one in references(events)]
    (problem,) = connector.problems
    assert "ddd" in problem and "too long" in problem
    assert problem in caplog.text
    enumerated(connector, {"root": uri_of(str(tree)), "after": "a.md", "full": True})
    assert connector.problems == [problem]  # the next slice, with the same instance


def test_a_subfolder_that_vanishes_makes_the_enumeration_incomplete(tree, monkeypatch):
    monkeypatch.setattr(directory, "BATCH", 1)
    connector = DirectoryConnector({"path": str(tree)})

    async def remove_behind_its_back():
        walk = connector.enumerate()
        first = await anext(walk)
        shutil.rmtree(tree / "b")
        return [first, *[event async for event in walk]]

    events = asyncio.run(remove_behind_its_back())
    assert [os.path.basename(one.unique_id) for one in references(events)] == ["a.md", "out.txt", "z.txt"]
    assert events[-1] == Complete(full=False)
    assert "No such file" in connector.problems[0]


def test_what_one_enumeration_could_not_read_is_not_forgotten_when_another_begins(tree, monkeypatch):
    """Hosts share an instance among sources of the same configuration."""
    monkeypatch.setattr(directory, "BATCH", 1)
    connector = DirectoryConnector({"path": str(tree)})

    async def meanwhile():
        walk = connector.enumerate()
        await anext(walk)
        shutil.rmtree(tree / "b")
        while not connector.problems:
            await anext(walk)
        other = [event async for event in connector.enumerate()]
        return other[-1], [event async for event in walk][-1]

    assert asyncio.run(meanwhile()) == (Complete(full=True), Complete(full=False))


def test_an_incomplete_part_keeps_a_resumed_enumeration_from_being_full(tree):
    cursor = {"root": uri_of(str(tree)), "after": "b/c.txt", "full": False}
    events = enumerated(DirectoryConnector({"path": str(tree)}), cursor)
    assert [os.path.basename(one.unique_id) for one in references(events)] == ["e.py", "out.txt", "z.txt"]
    assert events[-1] == Complete(full=False)


def test_a_cursor_of_another_root_is_not_used(tree):
    cursor = {"root": "file:///elsewhere", "after": "z.txt", "full": False}
    events = enumerated(DirectoryConnector({"path": str(tree)}), cursor)
    assert len(references(events)) == 5 and events[-1] == Complete(full=True)


@settings(max_examples=30, deadline=None)
@given(
    st.sets(st.text("ab.", min_size=1, max_size=3).filter(lambda name: name.strip(".")), min_size=1, max_size=8),
    st.data(),
)
def test_any_place_can_be_resumed(tmp_path_factory, parts, data):
    root = tmp_path_factory.mktemp("walk")
    for part in parts:
        (root / f"dir-{part}" / part).mkdir(parents=True)
        (root / f"dir-{part}" / part / "x").write_text(part)
        (root / f"file-{part}").write_text(part)
    connector = DirectoryConnector({"path": str(root), "hidden": True})
    everything = references(enumerated(connector))
    place = data.draw(st.integers(0, len(everything) - 1))
    after = os.path.relpath(path_of(everything[place].unique_id), root)
    cursor = {"root": uri_of(str(root)), "after": after, "full": True}
    assert references(enumerated(connector, cursor)) == everything[place + 1 :]


def test_a_file_that_grows_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    path = tmp_path / "log.txt"
    path.write_text("one ")
    real, writes = os.fstat, iter(["two ", ""])

    def grow_once(handle):
        about = real(handle)
        with open(path, "a") as file:
            file.write(next(writes, ""))
        return about

    monkeypatch.setattr(reading.os, "fstat", grow_once)
    assert reading.read_file(str(path), root=str(tmp_path), max_bytes=99).content == b"one two "


def test_a_file_that_never_rests_is_tried_later(tmp_path):
    path, stop = tmp_path / "log.txt", threading.Event()
    path.write_bytes(b"x" * 40_000_000)

    def touch():
        while not stop.is_set():
            os.utime(path, ns=(0, time.monotonic_ns()))

    writer = threading.Thread(target=touch)
    writer.start()
    try:
        with pytest.raises(TransientError, match="changed 3 times"):
            reading.read_file(str(path), root=str(tmp_path), max_bytes=2**30)
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("config", [{}, {"path": ""}, {"path": "/no/such/folder"}])
def test_a_path_that_cannot_work_is_named(config):
    connector = DirectoryConnector(config)
    with pytest.raises(PluginConfigError) as error:
        connector.validate_config()
    assert config.get("path") in ("", None) or "/no/such/folder" in str(error.value)
    with pytest.raises(PluginConfigError):
        enumerated(connector)
