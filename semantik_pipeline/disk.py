"""Disk use by kind, as far as it can be counted from here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.settings import Settings


def disk_use(runtime: Runtime) -> dict[str, Any]:
    """Bytes of ``ledger``, ``blobs`` and ``index``; None for what lies on other machines and is not counted.

    ``tables`` has PostgreSQL's by group of tables; the ledger is their sum.
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
    """The file with its write-ahead log."""
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def _blobs(settings: Settings) -> int | None:
    """Counting a bucket would be a request for every thousand bodies."""
    url = settings.blob_url
    if "://" in url and not url.startswith("file://"):
        return None
    return _size_of(Path(url.removeprefix("file://")))


def _size_of(folder: Path) -> int:
    """Blocks on disk, not lengths: the index's files have holes."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except OSError:
            continue  # it went while we looked
    return total
