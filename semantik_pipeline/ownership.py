"""Ownership of a data folder: the file that names the owning process, and the error for a second process."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from semantik_pipeline.errors import DataFolderInUse

#: The file in the data folder that names its owner: ``{"pid", "command"}``, and ``url`` if the owner is a server.
OWNER_NOTE = "owner.json"

#: The file with the admin key of an embedded server, for users who may read the data folder.
KEY_FILE = "admin.key"


#: The file with the id of the embedded index. Host names and folder paths are not unique, for example in containers.
INDEX_NAME = "index.id"


def index_name(folder: Path, *, make: bool = False) -> str:
    """Return the id of the folder's embedded index, unique among hosts; "" if no process has owned it yet.

    With ``make``, a missing id is created; only the owner may do that.
    """
    file = folder / INDEX_NAME
    try:
        return file.read_text("utf-8").strip()
    except FileNotFoundError:
        name = os.urandom(16).hex() if make else ""
        if make:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(name, "utf-8")
        return name


def in_use(folder: Path, note: Path) -> DataFolderInUse:
    """Return the error for a second process; it names the first."""
    owner = read_note(note)
    who = f"process {owner['pid']} ({owner['command']})" if owner else "another process"
    return DataFolderInUse(
        f"The data folder {folder} is in use by {who}.",
        "Wait until it has finished, stop it, or use another --data-dir. Commands that need only the ledger work "
        "meanwhile, such as `semantik status` and `semantik documents list`.",
    )


def local_server(folder: Path) -> tuple[str, str] | None:
    """Return URL and admin key of the server that owns this folder.

    Returns None if no server owns it or its key is not readable for this user. The lock shows that the server is alive:
    after a server was killed, another program may have taken the port in the file it left behind.
    """
    note = read_note(folder / OWNER_NOTE)
    if note is None or "url" not in note or not _locked(folder / "owner.lock"):
        return None
    try:
        key = (folder / KEY_FILE).read_text("utf-8").strip()
    except (OSError, ValueError):
        return None
    return (note["url"], key) if key else None


def _locked(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def read_note(note: Path) -> dict[str, Any] | None:
    """Read an owner's file; return None if it is absent or incomplete."""
    try:
        found = json.loads(note.read_text("utf-8"))
        url = {"url": str(found["url"])} if "url" in found else {}
        return {"pid": int(found["pid"]), "command": str(found["command"]), **url}
    except (OSError, ValueError, KeyError, TypeError):
        return None
