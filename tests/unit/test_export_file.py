"""The file of an export: what its members may be is known before they are in memory."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from pathlib import Path

import pytest

from semantik_pipeline.errors import UnreadableExport, UsageError
from semantik_pipeline.transfer import archive

MANIFEST = json.dumps({"format": archive.FORMAT, "version": archive.VERSION}).encode()


def written(path: Path, **members: bytes) -> Path:
    """An export with these members behind its manifest; ``_`` in a name is a slash."""
    with archive.writing(path) as writer:
        writer.add(archive.MANIFEST, MANIFEST)
        for name, body in members.items():
            writer.add(name.replace("_", "/"), body)
    return path


def names(path: Path) -> list[str]:
    return [name for name, _ in archive.read(path)]


def test_what_begins_otherwise_is_no_export_however_large_it_is(tmp_path: Path) -> None:
    path = tmp_path / "odd.tar"
    about = tarfile.TarInfo("000000/raw/aa")
    about.size = archive.LARGEST["raw"]  # of which nothing is there: it is not read
    path.write_bytes(about.tobuf())
    with pytest.raises(UnreadableExport, match="not an export of a collection"):
        names(path)


@pytest.mark.parametrize("name", [archive.MANIFEST, archive.END])
def test_the_first_and_the_last_member_are_small(tmp_path: Path, name: str) -> None:
    path = tmp_path / "large.tar"
    with tarfile.open(path, "w") as tar:
        for one in dict.fromkeys((archive.MANIFEST, name)):
            body = MANIFEST + b" " * (archive.FIRST if one == name else 0)
            about = tarfile.TarInfo(one)
            about.size = len(body)
            tar.addfile(about, io.BytesIO(body))
    with pytest.raises(UnreadableExport, match=f"{name} can't be part"):
        names(path)


def test_what_a_later_release_adds_is_passed_over_a_piece_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(archive.LARGEST, "raw", 1000)
    monkeypatch.setattr(archive, "PIECE", 100)
    path = written(
        tmp_path / "new.tar", **{"000000_raw_aa": b"body", "000000_pictures": b"x" * 5050, "000000_raw_bb": b""}
    )
    assert names(path) == [archive.MANIFEST, "000000/raw/aa", "000000/raw/bb"]
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes(path.read_bytes().replace(b"xxx", b"xyx", 1))
    with pytest.raises(UnreadableExport, match="damaged"):  # it counts in the sum
        names(damaged)


@pytest.mark.parametrize("kind", ["documents.jsonl", "raw/aa", "parsed/aa", "0000/vectors.npy"])
def test_each_kind_of_member_has_its_largest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = written(tmp_path / "large.tar", **{f"000000_{kind.replace('/', '_')}": b"x" * 101})
    assert len(names(path)) == 2
    for one in archive.LARGEST:
        monkeypatch.setitem(archive.LARGEST, one, 100)
    with pytest.raises(UnreadableExport, match="can't be part"):
        names(path)
    with pytest.raises(UsageError, match="101 bytes"):  # and none is written that could not be read
        written(tmp_path / "larger.tar", **{f"000000_{kind.replace('/', '_')}": b"x" * 101})
    assert not (tmp_path / "larger.tar").exists()


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "bomb.tar.gz", **{f"000000_pictures{number}": bytes(100_000) for number in range(20)})
    monkeypatch.setattr(archive, "LEAST", 1_000_000)
    assert path.stat().st_size * archive.RATIO < 2_000_000
    with pytest.raises(UnreadableExport, match="unpacks to too many"):
        names(path)


def test_none_is_written_that_would_be_refused_for_what_it_unpacks_to(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(archive, "LEAST", 1_000_000)
    members = {f"000000_raw_a{number}": bytes(100_000) for number in range(20)}
    with pytest.raises(UsageError, match="does not end in gz"):
        written(tmp_path / "much.tar.gz", **members)
    assert list(tmp_path.iterdir()) == []
    assert len(names(written(tmp_path / "much.tar", **members))) == 21


@pytest.mark.parametrize("more", [0, 1])
def test_writer_and_reader_count_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    """The reader accepts what the writer found just small enough.

    A member that a later release adds counts like any other.
    """
    members = {f"000000_raw_a{number}": bytes(100_000) for number in range(20)}
    whole = len(gzip.decompress(written(tmp_path / "one.tar.gz", **members).read_bytes()))
    monkeypatch.setattr(archive, "RATIO", 0)
    monkeypatch.setattr(archive, "LEAST", whole - more)
    if not more:
        assert len(names(written(tmp_path / "two.tar.gz", **members))) == 21
        return
    with pytest.raises(UsageError):
        written(tmp_path / "two.tar.gz", **members)


def test_a_header_is_not_read_whole_however_large_it_says_it_is(tmp_path: Path) -> None:
    path = tmp_path / "header.tar.gz"
    about = tarfile.TarInfo("pax")
    about.type, about.size = tarfile.XHDTYPE, 64 * 1024**2
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(about.tobuf())
        for _ in range(64):
            file.write(bytes(1024**2))
    with pytest.raises(UnreadableExport, match="unpacks to too many"):
        names(path)


def test_a_parsed_body_is_not_inflated_beyond_what_one_has(monkeypatch: pytest.MonkeyPatch) -> None:
    body = zlib.compress(b"x" * 1000)
    assert archive.inflated(body) == b"x" * 1000
    monkeypatch.setattr(archive, "INFLATED", 999)
    with pytest.raises(UnreadableExport, match="too large"):
        archive.inflated(body)
