"""Office files are archives: what is refused before anything is unpacked."""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib

from semantik_pipeline.errors import UnsupportedContent

#: Unpacked size up to which any compression is believed (a regular spreadsheet reaches 1:100 honestly).
HARMLESS = 64 * 2**20
#: Unpacked bytes for each packed one beyond that. Deflate ends at 1:1032; office files stay below 1:100.
MAX_RATIO = 200
#: So much of an OpenDocument's list of its files is read to see whether it is encrypted: its first entries say that.
MANIFEST = 2**20

#: What the unpackers of zlib and LZMA say of damaged bytes; the others say OSError and EOFError.
_BROKEN = (zlib.error, lzma.LZMAError)

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def refuse_bad_archive(content: bytes, name: str, *, max_unpacked: int) -> None:
    """Raise UnsupportedContent for an archive that is damaged, encrypted, or unpacks to more than it should.

    The sizes are those that the archive declares; Python's zipfile gives no more than these for a member. They are looked
    at before anything is unpacked.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _refuse_sizes(archive.infolist(), len(content), name, max_unpacked)
            if any(member.flag_bits & 0x1 for member in archive.infolist()) or b"encryption-data" in _manifest(archive):
                raise encrypted(name)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, *_BROKEN) as error:
        raise UnsupportedContent(f"{name} is damaged: the archive cannot be opened ({error}).") from error
    except RuntimeError as error:  # zipfile's way to say that it needs a password
        raise encrypted(name) from error


def _refuse_sizes(members: list[zipfile.ZipInfo], packed: int, name: str, max_unpacked: int) -> None:
    unpacked = sum(member.file_size for member in members)
    if unpacked > max_unpacked or (unpacked > HARMLESS and unpacked > MAX_RATIO * packed):
        raise UnsupportedContent(
            f"{name} would unpack from {packed:,} to {unpacked:,} bytes: a zip bomb, or too large.",
            "Raise max_unpacked_bytes of the parser if the file is trusted.",
        )


def _manifest(archive: zipfile.ZipFile) -> bytes:
    """The beginning of an OpenDocument's list of its files; nothing in other archives."""
    if "META-INF/manifest.xml" not in archive.NameToInfo:
        return b""
    with archive.open("META-INF/manifest.xml") as member:
        return member.read(MANIFEST)


def refuse_encrypted_ole(content: bytes, name: str) -> None:
    """Raise UnsupportedContent for an encrypted document in Microsoft's compound file."""
    if content.startswith(_OLE) and "EncryptedPackage".encode("utf-16-le") in content:
        raise encrypted(name)


def encrypted(name: str) -> UnsupportedContent:
    return UnsupportedContent(f"{name} is encrypted.", "Save a copy without a password.")
