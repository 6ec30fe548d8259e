"""``semantik verify`` on a server, which compares one part per request."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.remote.following import followed
from semantik_pipeline.cli.verify import EXAMPLES, WRONG, show_report

if TYPE_CHECKING:
    from semantik_pipeline.client import Client

#: Counts that are summed over the parts of a comparison.
SUMS = ("documents", "points_expected", "points_found", *WRONG, "pending")


@dataclass(kw_only=True)
class _Compared:
    """The sum of the parts received so far."""

    sums: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)

    def add(self, part: Any) -> None:
        self.sums.update({name: part[name] for name in SUMS})
        self.examples += part["examples"]
        self.operations += part["operations"]

    def answer(self) -> dict[str, Any]:
        clean = not any(self.sums[name] for name in WRONG)
        return {**{name: self.sums[name] for name in SUMS}, "clean": clean, "examples": self.examples[:EXAMPLES]}


def verify(call: Invocation, client: Client, *, collection: str | None, repair: bool) -> int:
    names = [collection] if collection is not None else [row["name"] for row in client.collections.each()]
    mended = _compared(client, names, repair=True) if repair else None
    for operation in mended.operations if mended else ():
        followed(call, client, operation)
    answer = _compared(client, names, repair=False).answer()
    if mended is not None:
        answer["repaired"] = {name: mended.sums[name] for name in WRONG}
    call.output.give(answer, lambda console: show_report(call, console, answer))
    return 0 if answer["clean"] else 1


def restored(call: Invocation, client: Client, collection: str) -> int:
    """Let the server restore points that the collection's indexes have lost. Returns the number of restored points."""
    lost = _compared(client, [collection], repair=True, lost=True)
    outcomes = {followed(call, client, operation)["outcome"] for operation in lost.operations}
    left = 0 if outcomes <= {"succeeded"} else _compared(client, [collection], repair=False).sums["missing"]
    return max(0, lost.sums["missing"] - left)


def _compared(client: Client, names: list[str], *, repair: bool, lost: bool = False) -> _Compared:
    found = _Compared()
    for name in names:
        cursor: str | None = None
        while True:
            part = client.collections.verify(name, repair=repair, only_if_incomplete=lost, cursor=cursor)
            found.add(part)
            cursor = part["next_cursor"]
            if cursor is None:
                break
    return found
