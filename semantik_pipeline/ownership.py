"""Who has a data folder: the note that its owner leaves, and the error of whoever comes second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from semantik_pipeline.errors import DataFolderInUse

#: Says in the data folder which process owns it: ``{"pid", "command"}``, and ``url`` of one that serves.
OWNER_NOTE = "owner.json"


def in_use(folder: Path, note: Path) -> DataFolderInUse:
    """The error of a second process, naming the first."""
    owner = read_note(note)
    who = f"process {owner['pid']} ({owner['command']})" if owner else "another process"
    return DataFolderInUse(
        f"The data folder {folder} is in use by {who}.",
        "Wait until it ends, or use another --data-dir; `semantik status` and `semantik documents` work meanwhile.",
    )


def read_note(note: Path) -> dict[str, Any] | None:
    """An owner's note; None for one that is absent, or half written."""
    try:
        found = json.loads(note.read_text("utf-8"))
        url = {"url": str(found["url"])} if "url" in found else {}
        return {"pid": int(found["pid"]), "command": str(found["command"]), **url}
    except (OSError, ValueError, KeyError, TypeError):
        return None
