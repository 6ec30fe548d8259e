"""``semantik index`` on a server. A server on this host syncs the paths; to another host, the files are uploaded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.index import show, sources_of
from semantik_pipeline.cli.invocation import EXIT, Invocation
from semantik_pipeline.cli.remote.following import followed
from semantik_pipeline.cli.remote.uploading import upload
from semantik_pipeline.cli.remote.verifying import restored

if TYPE_CHECKING:
    from semantik_pipeline.client import Client
    from semantik_pipeline.operations import SourceRequest

#: Outcomes, from the worst to the best.
WORST = ("failed", "cancelled", "degraded", "succeeded")


def index(
    call: Invocation,
    client: Client,
    *,
    paths: list[Path],
    collection: str,
    include: list[str] | None,
    exclude: list[str] | None,
    recursive: bool,
    connector: str,
    allow_deletions: bool,
) -> int:
    rules = {"include": include or (), "exclude": exclude or (), "recursive": recursive}
    asked = sources_of(paths, connector, rules)
    if call.url is None:
        ended = [_synced(call, client, one, collection, allow_deletions=allow_deletions) for one in asked]
        lost = restored(call, client, collection)
    else:
        ended = [upload(call, client, one, collection, allow_deletions=allow_deletions) for one in asked]
        lost = 0  # that server's operators look after its index
    sources = {name for one in ended for name in one["sources"]}
    failed: list[Any] = [*client.documents.each(collection=collection, status="quarantined", limit=500)]
    quarantined = [row for row in failed if row["source_id"] in sources]
    answer = _together(ended, collection, restored=lost, degraded=bool(quarantined))
    call.output.give(answer, lambda console: show(call, console, answer, quarantined))
    return EXIT[answer["outcome"]]


def _synced(
    call: Invocation, client: Client, asked: SourceRequest, collection: str, *, allow_deletions: bool
) -> dict[str, Any]:
    """Sync the source of the path, after adding or changing it if necessary. Returns the result of the sync."""
    there = [row for row in client.collections.each() if row["name"] == collection]
    known = client.sources.each(collection=collection) if there else ()
    found: Any = next((row for row in known if (row["connector"], row["name"]) == (asked.connector, asked.name)), None)
    if found is None:
        found = client.sources.add(asked.connector, asked.name, config=asked.config, collection=collection)
    elif found["config"] != asked.config:
        found = client.sources.update(found["id"], config=asked.config)
    if found["paused_reason"] is not None and allow_deletions:
        client.sources.resume(found["id"], allow_deletions=True)
    begun = client.sources.sync(found["id"], allow_deletions=allow_deletions)
    ended = followed(call, client, begun["operation"])
    problems = client.operations.show(begun["id"])["problems"]
    return {**ended, "problems": problems, "sources": [found["id"]]}


def _together(ended: list[dict[str, Any]], collection: str, *, restored: int, degraded: bool) -> dict[str, Any]:
    """Combine the results of all paths into one answer, in the form of a single sync of all paths."""
    documents: Counter[str] = Counter()
    chunks: Counter[str] = Counter()
    seconds, unread, errors = 0.0, 0, []
    for one in ended:
        result = one["result"] or {}
        unread += result.get("unread", 0)
        documents.update(result["documents"])
        chunks.update(result["chunks"])
        seconds += result["seconds"]
        errors += [*result.get("errors", []), *result.get("taken_over", [])]
    outcomes = {one["outcome"] for one in ended} | ({"degraded"} if degraded else set())
    return {
        "operation": ", ".join(dict.fromkeys(one["operation"] for one in ended if one["operation"])) or None,
        "collection": collection,
        "outcome": next(outcome for outcome in WORST if outcome in outcomes),
        "documents": dict(documents),
        "chunks": dict(chunks),
        "seconds": round(seconds, 2),
        "restored": restored,
        "unread": unread,
        "problems": [line for one in ended for line in one["problems"]],
        "errors": errors,
    }
