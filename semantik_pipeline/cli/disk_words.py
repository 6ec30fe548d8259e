"""Text output for disk use."""

from __future__ import annotations

from typing import Any


def told(disk: dict[str, Any]) -> str:
    """Format disk use: ``1.9 MB (ledger 1.2 MB, blobs 57.3 kB, index on another host)``."""
    from semantik_pipeline.cli.wording import size

    kinds = {kind: disk[kind] for kind in ("ledger", "blobs", "index")}
    parts = [
        f"{kind} {size(number)}" if number is not None else f"{kind} on another host" for kind, number in kinds.items()
    ]
    between = "; " if disk["tables"] else ", "
    if disk["tables"]:
        tables = ", ".join(f"{group} {size(number)}" for group, number in disk["tables"].items())
        parts[0] += f": {tables}"
    return f"{size(sum(number or 0 for number in kinds.values()))} ({between.join(parts)})"
