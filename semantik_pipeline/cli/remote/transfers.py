"""``semantik collections export`` and ``import`` on a server.

The file goes through HTTP only if the user gives a URL. Beside a server that owns the data folder on this host, this
process exports and imports by itself, because both need only the ledger.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.collection_views import show_transfer
from semantik_pipeline.cli.collections import export_here, import_here, require_file
from semantik_pipeline.cli.invocation import EXIT, Invocation
from semantik_pipeline.cli.remote.following import followed

if TYPE_CHECKING:
    from semantik_pipeline.client import Client


def export(call: Invocation, client: Client, *, name: str, file: Path) -> int:
    if call.url is None:
        return export_here(call, name, file)
    path = client.collections.export(name, file.expanduser())
    told = {"collection": name, "file": str(path), "bytes": path.stat().st_size, **_contents(path)}
    call.output.give(told, lambda console: show_transfer(console, told, f"Exported {name!r} to {file}"))
    return 0


def _contents(path: Path) -> dict[str, int]:
    """Count the contents of an export. The file is read to its end, which also checks that it is complete."""
    import io

    import numpy as np

    from semantik_pipeline.transfer import manifest_of, read

    members = read(path)
    told: Counter[str] = Counter(documents=0, chunks=0, vectors=0, bodies=0)
    sources = len(manifest_of(path, members)["sources"])
    for member, body in members:
        kind = member.rpartition("/")[2]
        if kind in ("documents.jsonl", "chunks.jsonl"):
            told[kind.removesuffix(".jsonl")] += body.count(b"\n")
        elif kind == "vectors.npy":
            told["vectors"] += len(np.load(io.BytesIO(body), allow_pickle=False))
        elif "/raw/" in member or "/parsed/" in member:
            told["bodies"] += 1
    return {"sources": sources, **told}


def import_(call: Invocation, client: Client, *, file: Path, name: str | None) -> int:
    if call.url is None:
        return import_here(call, file, name)
    require_file(file)
    told: dict[str, Any] = {**client.collections.import_(file.expanduser(), name=name)}
    ended = followed(call, client, told["operation"])
    told.pop("id")
    answer = {**told, "outcome": ended["outcome"]}
    call.output.give(answer, lambda console: show_transfer(console, answer, f"Imported {answer['collection']!r}"))
    return EXIT[ended["outcome"]]
