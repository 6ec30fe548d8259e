"""Disk use of ledger, blobs and index, as far as this machine can measure it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.settings import Settings


def disk_use(runtime: Runtime) -> dict[str, Any]:
    """Return the bytes of ``ledger``, ``blobs`` and ``index``; None for storage on other machines (not counted).

    ``tables`` has the bytes of PostgreSQL's tables by group; the ledger is their sum.
    """
    from semantik_pipeline.ledger.database.storage import table_sizes

    with runtime.ledger.read() as tx:
        tables = table_sizes(tx)
    settings = runtime.settings
    return {
        "ledger": sum(tables.values()) if tables else _sqlite(settings),
        "blobs": _blobs(settings),
        "index": None if settings.shared_store else _size_of(settings.index_dir),
        "tables": tables,
    }


def _sqlite(settings: Settings) -> int:
    """Return the size of the database file and its write-ahead log."""
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def _blobs(settings: Settings) -> int | None:
    """Return the size of a local folder. A bucket is not counted: that takes a request per thousand bodies."""
    scheme, _, path = settings.blob_url.rpartition("://")
    return _size_of(Path(path)) if scheme in ("", "file", "local") else None


def _size_of(folder: Path) -> int:
    """Return the allocated blocks in bytes, not the file lengths: the index's files are sparse."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except OSError:
            continue  # removed in the meantime
    return total
