"""Media types by content and name."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.builtin.media_types import media_type

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489")


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for name in names:
            written.writestr(zipfile.ZipInfo(name), "application/epub+zip" if name == "mimetype" else "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (b"# Title\n", "a.md", "text/markdown"),
        (b"print(1)\n", "a.py", "text/x-python"),
        (b"let x = 1\n", "a.ts", "text/x-typescript"),
        (b"all:\n", "Makefile", "text/x-makefile"),
        (b"hello\n", "README", "text/plain"),
        (b"hello\n", "photo.png", "text/plain"),
        ("für\n".encode("latin-1"), "a.txt", "text/plain"),
        ("für alle Leute\n".encode("utf-16-le"), "a.txt", "text/plain"),
        (b"<!DOCTYPE html><p>x", "page.txt", "text/html"),
        (b"<!-- x -->\n<html><p>x", "page", "text/html"),
        (b"<html><p>x", "page.md", "text/markdown"),
        (b"<?xml version='1.0'?><r/>", "feed", "application/xml"),
        (b'{"a": 1}', "a.json", "application/json"),
        (b"{\\rtf1 x}", "a.doc", "application/rtf"),
        (b"%PDF-1.4\n", "a.txt", "application/pdf"),
        (PNG, "notes.txt", "image/png"),
        (PNG, "notes", "image/png"),
        (archive("a.txt"), "a.docx", "application/zip"),
        (archive("mimetype", "x.xhtml"), "a.zip", "application/epub+zip"),
        (archive("[Content_Types].xml", "word/document.xml"), "a", DOCX),
        (archive("a.txt")[:20], "a.docx", DOCX),
        (b"\x00\x01\x02\x03" * 50, "a.unknown", "application/octet-stream"),
        (b'{"header": 1}' + b" " * 9000 + bytes(range(256)) * 90, "a.safetensors", "application/octet-stream"),
        (b"", "a.md", "text/markdown"),
    ],
)
def test_content_is_believed_where_it_is_sure(content, name, expected):
    assert media_type(content, name) == expected


@given(st.binary(max_size=300), st.text(max_size=12))
def test_anything_has_a_media_type(content, name):
    assert media_type(content, name).count("/") == 1


@given(
    st.sampled_from([b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"%PDF-", b"{\\rtf"]), st.binary(max_size=300)
)
def test_damaged_signatures_do_no_harm(signature, rest):
    assert media_type(signature + rest, "x").count("/") == 1


def packed(compression: int, said: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as written, written.open("mimetype", "w") as member:
        member.write(said)
        for _ in range(32):
            member.write(bytes(2**20))
    return file.getvalue()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_in_the_member_that_names_the_type_is_not_unpacked(compression):
    content = packed(compression, b"application/epub+zip")
    tracemalloc.start()
    try:
        assert media_type(content, "a.epub").startswith("application/")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_damaged_member_that_names_the_type_does_no_harm():
    content = bytearray(packed(zipfile.ZIP_DEFLATED, b"application/epub+zip"))
    content[38:58] = b"\xff" * 20  # within the packed bytes
    assert media_type(bytes(content), "a.epub") == "application/epub+zip"


def test_an_archive_of_very_many_members_is_not_listed():
    """Its directory has one entry 200,000 times, and its end says that there is 1 entry, which may not be trusted."""
    one = archive("a")
    at, end = one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    directory = one[at:end] * 200_000
    tail = bytearray(one[end:])
    tail[12:16] = len(directory).to_bytes(4, "little")
    content = one[:at] + directory + bytes(tail)
    with zipfile.ZipFile(io.BytesIO(content)) as whole:
        assert len(whole.infolist()) == 200_000
    tracemalloc.start()
    try:
        assert media_type(content, "a.docx") == DOCX and media_type(content, "a") == "application/zip"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
