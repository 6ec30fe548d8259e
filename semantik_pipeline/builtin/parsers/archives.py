"""Office files are archives: what is refused before anything is unpacked."""

from __future__ import annotations

import io
import zipfile

from semantik_pipeline.errors import UnsupportedContent

#: Unpacked size up to which any compression is believed (a regular spreadsheet reaches 1:100 honestly).
HARMLESS = 64 * 2**20
#: Unpacked bytes for each packed one beyond that. Deflate ends at 1:1032; office files stay below 1:100.
MAX_RATIO = 200

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def refuse_bad_archive(content: bytes, name: str, *, max_unpacked: int) -> None:
    """Raise UnsupportedContent for an archive that is damaged, encrypted, or unpacks to more than it should.

    The sizes are those that the archive declares; Python's zipfile gives no more than these for a member.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            manifest = archive.read("META-INF/manifest.xml") if "META-INF/manifest.xml" in archive.NameToInfo else b""
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError) as error:
        raise UnsupportedContent(f"{name} is damaged: the archive cannot be opened ({error}).") from error
    except RuntimeError as error:  # zipfile's way to say that it needs a password
        raise encrypted(name) from error
    unpacked = sum(member.file_size for member in members)
    if unpacked > max_unpacked or (unpacked > HARMLESS and unpacked > MAX_RATIO * len(content)):
        raise UnsupportedContent(
            f"{name} would unpack from {len(content):,} to {unpacked:,} bytes: a zip bomb, or too large.",
            "Raise max_unpacked_bytes of the parser if the file is trusted.",
        )
    if any(member.flag_bits & 0x1 for member in members) or b"encryption-data" in manifest:
        raise encrypted(name)


def refuse_encrypted_ole(content: bytes, name: str) -> None:
    """Raise UnsupportedContent for an encrypted document in Microsoft's compound file."""
    if content.startswith(_OLE) and "EncryptedPackage".encode("utf-16-le") in content:
        raise encrypted(name)


def encrypted(name: str) -> UnsupportedContent:
    return UnsupportedContent(f"{name} is encrypted.", "Save a copy without a password.")
