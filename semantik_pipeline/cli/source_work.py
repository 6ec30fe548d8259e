"""Runs syncs, removals and restores of sources, or follows them while other processes do the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.invocation import EXIT, Invocation
from semantik_pipeline.cli.sources import beside, named

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


def run_for(
    call: Invocation,
    names: Sequence[str],
    begin_one: Callable[[Runtime, dict[str, Any]], int],
    *,
    wait: bool,
    find: Callable[[Runtime, str], dict[str, Any]] = named,
) -> int:
    """Start an operation for each source, and return the exit code.

    With ``wait``, wait for the operations and print their outcomes; otherwise print their names. ``find`` looks up a
    source by name. The work is done by the fleet, by the process that owns the data folder, or otherwise by this
    process.
    """
    from semantik_pipeline.cli.source_views import show_operations

    with _place(call, wait) as (runtime, here):
        found = [find(runtime, name) for name in dict.fromkeys(names)]  # find all sources before anything starts
        begun = [(source, begin_one(runtime, source)) for source in found]
        answers = [_follow(runtime, source, operation, wait=wait, here=here) for source, operation in begun]
    call.output.give({"sources": answers}, lambda console: show_operations(console, answers, _way_on(call)))
    codes = {EXIT.get(answer["outcome"], 0) for answer in answers}
    return 1 if 1 in codes else max(codes)


@contextmanager
def _place(call: Invocation, wait: bool) -> Iterator[tuple[Runtime, bool]]:
    """Yield a runtime, and whether this process does the work."""
    from semantik_pipeline.cli.working import at_work_or_beside

    if wait:
        with at_work_or_beside(call) as place:
            yield place
    else:
        with beside(call) as runtime:
            yield runtime, False


def _follow(runtime: Runtime, source: dict[str, Any], operation_id: int, *, wait: bool, here: bool) -> dict[str, Any]:
    """Return the source, its operation, and the outcome, which is null unless ``wait`` is set."""
    from semantik_pipeline import operations, sources
    from semantik_pipeline.cli.progress import watching

    answer: dict[str, Any] = {"source": source, "outcome": None, "documents": None, "chunks": None, "errors": []}
    if not wait:
        return {"operation": f"{operations.look(runtime, operation_id).kind}-{operation_id}", **answer}
    with watching() as watch:
        progress = operations.wait(runtime, operation_id, watch)
    result = progress.result or {}
    if here and source["removed_at"] is None and result.get("chunks", {}).get("embedded"):
        operations.optimize(runtime, source["collection"])
    sources.advance_removals(runtime)
    answer |= {name: result.get(name, answer[name]) for name in ("documents", "chunks", "errors")}
    return {"operation": f"{progress.kind}-{operation_id}", **answer, "outcome": progress.outcome}


def _way_on(call: Invocation) -> str:
    if call.settings().fleet:
        return f"The workers do it. See its progress: {call.command('sources list')}"
    return f"A running {call.command('serve')} or {call.command('scheduler')} does it. To do it now, add --wait."
