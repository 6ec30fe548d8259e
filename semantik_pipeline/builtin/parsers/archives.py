"""Checks office files, which are archives, before anything is unpacked, and refuses unsafe ones."""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib

from semantik_pipeline.errors import UnsupportedContent

#: Unpacked size up to which any compression ratio is accepted (a normal spreadsheet can reach 1:100).
HARMLESS = 64 * 2**20
#: Maximum ratio of unpacked to packed bytes above that size. Deflate's limit is 1:1032; office files stay below 1:100.
MAX_RATIO = 200
#: Bytes of an OpenDocument's manifest that are read to see whether it is encrypted. Its first entries show that.
MANIFEST = 2**20

#: Errors of zlib and LZMA for damaged data; the other decompressors raise OSError and EOFError.
_BROKEN = (zlib.error, lzma.LZMAError)

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def refuse_bad_archive(content: bytes, name: str, *, max_unpacked: int) -> None:
    """Raise UnsupportedContent for an archive that is damaged, is encrypted, or would unpack to too many bytes.

    The check uses the sizes that the archive declares, before anything is unpacked. Python's zipfile never returns more
    than the declared size of a member.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _refuse_sizes(archive.infolist(), len(content), name, max_unpacked)
            if any(member.flag_bits & 0x1 for member in archive.infolist()) or b"encryption-data" in _manifest(archive):
                raise encrypted(name)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, *_BROKEN) as error:
        raise UnsupportedContent(f"{name} is damaged: the archive cannot be opened ({error}).") from error
    except RuntimeError as error:  # zipfile raises it if a password is needed
        raise encrypted(name) from error


def _refuse_sizes(members: list[zipfile.ZipInfo], packed: int, name: str, max_unpacked: int) -> None:
    unpacked = sum(member.file_size for member in members)
    if unpacked > max_unpacked or (unpacked > HARMLESS and unpacked > MAX_RATIO * packed):
        raise UnsupportedContent(
            f"{name} would unpack from {packed:,} to {unpacked:,} bytes: a zip bomb, or too large.",
            "Raise max_unpacked_bytes of the parser if you trust the file.",
        )


def _manifest(archive: zipfile.ZipFile) -> bytes:
    """The beginning of an OpenDocument's manifest; empty for other archives."""
    if "META-INF/manifest.xml" not in archive.NameToInfo:
        return b""
    with archive.open("META-INF/manifest.xml") as member:
        return member.read(MANIFEST)


def refuse_encrypted_ole(content: bytes, name: str) -> None:
    """Raise UnsupportedContent for an encrypted document in Microsoft's compound file format."""
    if content.startswith(_OLE) and "EncryptedPackage".encode("utf-16-le") in content:
        raise encrypted(name)


def encrypted(name: str) -> UnsupportedContent:
    return UnsupportedContent(f"{name} is encrypted.", "Save a copy without a password.")
