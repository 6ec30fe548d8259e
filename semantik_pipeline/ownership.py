"""Which process owns a data folder: the note that it leaves, and the error for a second process."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from semantik_pipeline.errors import DataFolderInUse

#: Says in the data folder which process owns it: ``{"pid", "command"}``, and ``url`` of one that serves.
OWNER_NOTE = "owner.json"

#: Holds the admin key of an embedded server, for whoever may read the data folder.
KEY_FILE = "admin.key"


#: Names the embedded index in its data folder. Hosts, and folders inside containers, may be called alike.
INDEX_NAME = "index.id"


def index_name(folder: Path, *, make: bool = False) -> str:
    """What the embedded index of this folder is called among those of other hosts; "" if no process has owned it yet.
    ``make``: then it gets a name, from its owner."""
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
    """The error of a second process, naming the first."""
    owner = read_note(note)
    who = f"process {owner['pid']} ({owner['command']})" if owner else "another process"
    return DataFolderInUse(
        f"The data folder {folder} is in use by {who}.",
        "Wait until it has finished, stop it, or use another --data-dir. Commands that need only the ledger work meanwhile,"
        " such as `semantik status` and `semantik documents list`.",
    )


def local_server(folder: Path) -> tuple[str, str] | None:
    """URL and admin key of the server that owns this folder; None if none does, or its key is not for this user.

    The lock says that it lives: what a killed one left in the folder must not lead to whoever took its port since.
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
    """An owner's note; None for one that is absent, or half written."""
    try:
        found = json.loads(note.read_text("utf-8"))
        url = {"url": str(found["url"])} if "url" in found else {}
        return {"pid": int(found["pid"]), "command": str(found["command"]), **url}
    except (OSError, ValueError, KeyError, TypeError):
        return None
