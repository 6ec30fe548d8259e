"""Media types by content and name: content decides where it is sure, the name decides between kinds of text."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from pathlib import PurePosixPath

from semantik_pipeline.contracts.media_names import NAMED, by_name, is_text_type

UNKNOWN = "application/octet-stream"

#: How much of a file is looked at to tell text from bytes.
HEAD = 8192

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\v\b\x1b")) + b"\x7f"
_HTML = re.compile(rb"\s*(<!--.{0,500}?-->\s*)?<(!doctype\s+html|html)[\s>]", re.IGNORECASE | re.DOTALL)

# Streams that tell the programs apart that share Microsoft's compound file; names are stored as UTF-16.
_OLE_STREAMS = {
    "WordDocument": ".doc",
    "Workbook": ".xls",
    "PowerPoint Document": ".ppt",
    "__properties_version1.0": ".msg",
}
#: Members of an archive that is looked into: each that is listed takes half a kilobyte, in the process that syncs.
MOST_MEMBERS = 50_000

# How each entry of an archive's directory begins. They are counted, for the number that an archive states may be any.
_ZIP_ENTRY = b"PK\x01\x02"
_ZIP_MEMBERS = {"word/": ".docx", "xl/": ".xlsx", "ppt/": ".pptx"}


def media_type(content: bytes, name: str) -> str:
    """The media type of a file with this content and this name.

    A PNG that is called ``notes.txt`` is ``image/png``; text that is called ``notes.png`` is ``text/plain``; text keeps
    the type its name gives it (``.md`` is ``text/markdown``). ``application/octet-stream`` if nothing is known.
    """
    named = by_name(name)
    sure = _by_signature(content, name)
    if sure:
        return sure
    if looks_like_text(content):
        return _kind_of_text(content, named)
    guessed = _by_magic(content, name)
    return guessed if guessed and not is_text_type(guessed) else named or UNKNOWN


def looks_like_text(content: bytes) -> bool:
    """Whether this is text in some encoding: a byte-order mark, or almost no control bytes at the start and half-way.

    Half-way too, because model files and the like begin with a page of JSON.
    """
    head, middle = content[:HEAD], content[len(content) // 2 :][:HEAD]
    if head.startswith(_BOMS) or looks_like_utf16(head) is not None:
        return True
    return _is_plain(head) and _is_plain(middle)


def looks_like_utf16(head: bytes) -> str | None:
    """``utf-16-le`` or ``utf-16-be`` if every other byte is mostly zero, as in Western text without a mark."""
    low, high = head[0::2], head[1::2]
    if _mostly_zero(high) and _is_plain(low):
        return "utf-16-le"
    if _mostly_zero(low) and _is_plain(high):
        return "utf-16-be"
    return None


def _mostly_zero(half: bytes) -> bool:
    return half.count(0) > 0.4 * max(len(half), 1)


def _is_plain(text: bytes) -> bool:
    """Whether there are almost no control bytes in it."""
    return len(text) - len(text.translate(None, _CONTROL)) <= len(text) // 500


def _kind_of_text(content: bytes, named: str | None) -> str:
    if named not in (None, "text/plain") and is_text_type(named):
        return named
    start = content[:1024].removeprefix(_BOMS[0]).replace(b"\0", b"")
    if _HTML.match(start):
        return "text/html"
    if named is None and start.lstrip().startswith(b"<?xml"):
        return "application/xml"
    return "text/plain"


def _by_signature(content: bytes, name: str) -> str | None:
    if b"%PDF-" in content[:1024]:  # readers accept rubbish before the header
        return "application/pdf"
    if content.startswith(b"{\\rtf"):
        return "application/rtf"
    if content.startswith(b"PK\x03\x04"):
        return _kind_of_zip(content, name)
    if content.startswith(_OLE):
        return _kind_of_ole(content, name)
    return None


def _kind_of_zip(content: bytes, name: str) -> str:
    if content.count(_ZIP_ENTRY) > MOST_MEMBERS:
        return by_name(name) or "application/zip"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.namelist()
            declared = _declared(archive) if "mimetype" in members else ""
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError, zlib.error):
        # A damaged archive keeps what its name says, so that the parser for it can say what is wrong.
        return by_name(name) or "application/zip"
    if "[Content_Types].xml" in members:
        for folder, extension in _ZIP_MEMBERS.items():
            if any(member.startswith(folder) for member in members):
                return NAMED[extension]
    return declared if re.fullmatch(r"[\w.+-]+/[\w.+-]+", declared) else "application/zip"


def _declared(archive: zipfile.ZipFile) -> str:
    """The media type that an OpenDocument or EPUB file declares; empty if it is not readable.

    Only its beginning is unpacked, a page at most, because this runs in the process that syncs. Such files store it
    uncompressed; bzip2 and LZMA, which can't unpack a part of a block, are not accepted.
    """
    if archive.getinfo("mimetype").compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return ""
    with archive.open("mimetype") as member:
        return member.read(100).decode("ascii", "replace").strip()


def _kind_of_ole(content: bytes, name: str) -> str:
    if "EncryptedPackage".encode("utf-16-le") in content:
        return by_name(name) or "application/x-ole-storage"
    for stream, extension in _OLE_STREAMS.items():
        if stream.encode("utf-16-le") in content:
            return NAMED[extension]
    return by_name(name) or "application/x-ole-storage"


def _by_magic(content: bytes, name: str) -> str | None:
    import puremagic

    try:
        found = puremagic.magic_string(content[:HEAD], filename=PurePosixPath(name).name)
    except (puremagic.PureError, ValueError):
        return None
    best = max(found, key=lambda match: match.confidence, default=None)
    return best.mime_type if best and best.confidence >= 0.6 and best.mime_type else None
