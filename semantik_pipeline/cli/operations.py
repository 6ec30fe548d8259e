"""``semantik operations``: watch, pause, resume, cancel and retry operations."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.arguments import EPILOG
from semantik_pipeline.cli.invocation import Invocation, begin

if TYPE_CHECKING:
    from semantik_pipeline.cli.pace import Pace
    from semantik_pipeline.runtime import Runtime

app = typer.Typer(
    help="Watch, pause, cancel and retry operations.\n\nAn operation is something that takes time, such as a sync, a "
    "reindex, a deletion or a repair.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="ID", help="Operation id, e.g. sync-12.")]
WatchOption = Annotated[bool, typer.Option("--watch", help="Refresh every two seconds until it has finished.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait until it has finished.")]

#: Number of finished operations in a list without `--all`.
LISTED = 20

#: Minimum number of seconds between two refreshes of ``--watch``. Slow queries are repeated less often.
LOOK = 2.0


@app.command("list", short_help="List operations, newest first.", epilog=EPILOG)
def list_(
    context: typer.Context,
    all_: Annotated[
        bool, typer.Option("--all", help=f"List all finished operations, not only the last {LISTED}.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every two seconds.")] = False,
) -> int:
    """List operations, newest first: all that are not finished, and the last finished ones."""
    call = begin(context)
    from semantik_pipeline.cli.operation_views import show_list

    with call.runtime() as runtime:
        paces: dict[int, Pace] = {}
        while True:
            asked = time.monotonic()
            found = _listed(call, runtime, None if all_ else LISTED, paces)
            if watch and not call.output.as_json:
                call.output.console().clear()
            call.output.give({"operations": found}, lambda console, found=found: show_list(call, console, found))
            call.output.flush()
            if not watch:
                return 0
            time.sleep(max(LOOK, 20 * (time.monotonic() - asked)))


@app.command(short_help="Show progress of an operation.", epilog=EPILOG)
def show(context: typer.Context, operation: NameArgument, watch: WatchOption = False) -> int:
    """Show an operation: the progress and rate of each stage, which one is slowest, and what is unfinished and why.

    Exit codes: 0 succeeded or not finished yet, 3 degraded, 1 failed or cancelled.
    """
    call = begin(context)
    from semantik_pipeline.cli.operation_views import show_operation
    from semantik_pipeline.cli.pace import Pace

    with call.runtime() as runtime:
        operation_id = _find(runtime, operation)
        pace = Pace() if watch else None
        while True:
            asked = time.monotonic()
            answer = _shown(call, runtime, operation_id, pace)
            if watch and not call.output.as_json:
                call.output.console().clear()
            call.output.give(answer, lambda console, answer=answer: show_operation(call, console, answer))
            call.output.flush()
            if not watch or answer["state"] == "finished":
                return _exit_code(answer)
            time.sleep(max(LOOK, 20 * (time.monotonic() - asked)))


@app.command(short_help="Pause an operation.", epilog=EPILOG)
def pause(context: typer.Context, operation: NameArgument) -> int:
    """Pause an operation. Workers finish what they are processing and take no more of it until `resume`."""
    call = begin(context)
    from semantik_pipeline import operations

    with _writing(call) as runtime:
        held = operations.pause(runtime, _find(runtime, operation))
        answer = {**_shown(call, runtime, _find(runtime, operation), None), "affected_documents": held}
    again = call.command(f"operations resume {answer['operation']}")
    told = paused(answer["operation"], held, again)
    call.output.give(answer, lambda console: console.print(told, soft_wrap=True))
    return 0


@app.command(short_help="Resume a paused operation.", epilog=EPILOG)
def resume(context: typer.Context, operation: NameArgument, wait: WaitOption = False) -> int:
    """Resume a paused operation. Without a fleet, this process works on it until it has finished, unless another
    process (such as `semantik serve`) is working; in that case --wait waits for that process."""
    call = begin(context)
    from semantik_pipeline import operations

    def change(runtime: Runtime) -> int:
        operation_id = _find(runtime, operation)
        operations.resume(runtime, operation_id)
        return operation_id

    return _set_going(call, change, wait=wait)


@app.command(short_help="Cancel an operation.", epilog=EPILOG)
def cancel(context: typer.Context, operation: NameArgument) -> int:
    """Cancel an operation. Unfinished documents can be retried.

    What is searchable stays searchable. `operations retry`, or the next sync of the source, continues with the
    unfinished documents. A source that was being removed stays, with the documents that are not deleted yet.
    """
    call = begin(context)
    from semantik_pipeline import operations

    with _writing(call) as runtime:
        operation_id = _find(runtime, operation)
        parked = operations.cancel(runtime, operation_id)
        answer = {**_shown(call, runtime, operation_id, None), "affected_documents": parked}
        unattended = not runtime.settings.fleet and runtime.owner() is None
    if answer["state"] != "finished" and unattended:
        answer = {**_finished_here(call, operation_id), "affected_documents": parked}
    told = cancelled(call, answer, parked)
    call.output.give(answer, lambda console: console.print(told, soft_wrap=True))
    return 0


def paused(operation: str, held: int, again: str) -> str:
    """Return the message after a pause. ``again`` is the command that resumes the operation."""
    return f"Paused {operation}: {_documents(held)} and its sources are waiting. Resume: {again}"


def cancelled(call: Invocation, answer: dict[str, Any], parked: int) -> str:
    """Return the message after a cancellation: what stays, and how to continue. ``parked`` is a number of documents."""
    done = answer["state"] == "finished"
    told = (
        f"Cancelled {answer['operation']}." if done else f"Cancelling {answer['operation']}: work in progress finishes."
    )
    if answer["kind"] == "delete":
        kept = (
            "Documents that are already deleted stay deleted; a source that was being removed stays, with the others."
        )
        sync, remove = call.command("sources sync"), call.command("sources remove")
        return f"{told} {kept} To restore all of it: {sync} SOURCE. To remove the source after all: {remove} SOURCE"
    again = call.command(f"operations retry {answer['operation']}")
    return f"{told} {_documents(parked)} parked. Retry: {again}"


@app.command(short_help="Retry what an operation did not finish.", epilog=EPILOG)
def retry(context: typer.Context, operation: NameArgument, wait: WaitOption = False) -> int:
    """Retry what an operation did not finish: failed documents, cancelled documents and failed sources. This starts a
    new operation."""
    call = begin(context)
    from semantik_pipeline import operations

    return _set_going(call, lambda runtime: operations.retry(runtime, _find(runtime, operation)), wait=wait)


def _set_going(call: Invocation, change: Any, *, wait: bool) -> int:
    """Make the change, then do its work in this process, wait for the processes that do it, or leave it to them."""
    from semantik_pipeline import operations
    from semantik_pipeline.cli.operation_views import show_operation
    from semantik_pipeline.cli.progress import watching
    from semantik_pipeline.cli.working import at_work_or_beside

    with at_work_or_beside(call) as (runtime, here):
        operation_id = change(runtime)
        if here or wait:
            with watching() as watch:
                operations.wait(runtime, operation_id, watch)
        answer = _shown(call, runtime, operation_id, None, attended=True)
    call.output.give(answer, lambda console: show_operation(call, console, answer))
    return _exit_code(answer)


def _finished_here(call: Invocation, operation_id: int) -> dict[str, Any]:
    """Finish a cancelled operation in this process: its deletions, and the units that a killed process left behind."""
    from semantik_pipeline import operations
    from semantik_pipeline.cli.working import at_work

    with at_work(call) as runtime:
        operations.wait(runtime, operation_id)
        return _shown(call, runtime, operation_id, None, attended=True)


def _writing(call: Invocation) -> Any:
    """Return a context manager for a runtime that changes only the ledger and, on a fleet, notifies the workers."""
    from semantik_pipeline.cli.working import beside_a_fleet

    return beside_a_fleet(call) if call.settings().fleet else call.runtime()


def _find(runtime: Runtime, name: str) -> int:
    from semantik_pipeline.ledger.operations import operation_reports

    with runtime.ledger.read() as tx:
        return operation_reports.find(tx, name)


def unfinished(call: Invocation, runtime: Runtime) -> list[dict[str, Any]]:
    """Return the operations that have not finished, with their progress and what blocks them."""
    return _listed(call, runtime, 0, {})


def _listed(call: Invocation, runtime: Runtime, finished: int | None, paces: dict[int, Pace]) -> list[dict[str, Any]]:
    """Return operations, with the progress of those that have not finished.

    ``finished`` is the maximum number of finished ones (None: no limit). ``paces`` keeps the samples between calls.
    """
    from semantik_pipeline.ledger.operations import operation_reports
    from semantik_pipeline.operations import living

    with runtime.ledger.read() as tx:
        found = operation_reports.list_operations(tx, workers=living(runtime, tx), finished=finished)
    for row in found:
        if row["state"] != "finished":
            row["progress"] = _progress(runtime, row, paces.setdefault(row["id"], _pace()))
            _attended(call, runtime, row)
    return found


def _shown(
    call: Invocation, runtime: Runtime, operation_id: int, pace: Pace | None, *, attended: bool = False
) -> dict[str, Any]:
    """Return an operation with its progress and what is unfinished. ``attended``: a process was working on it."""
    from semantik_pipeline.ledger.operations import operation_reports, outcomes
    from semantik_pipeline.operations import living

    with runtime.ledger.read() as tx:
        answer = operation_reports.show_operation(tx, operation_id, workers=living(runtime, tx))
        answer["problems"] = outcomes.problems(tx, operation_id)
        unfinished = operation_reports.unfinished(tx, operation_id)
        answer["unfinished"] = {
            "quarantined": unfinished.quarantined,
            "parked": unfinished.parked,
            "sources": len(unfinished.sources),
            "rerun": unfinished.rerun is not None,
        }
    answer["progress"] = _progress(runtime, answer, pace or _pace())
    if not attended:
        _attended(call, runtime, answer)
    return answer


def _pace() -> Pace:
    from semantik_pipeline.cli.pace import Pace

    return Pace()


def _progress(runtime: Runtime, row: dict[str, Any], pace: Pace) -> dict[str, Any]:
    """Return counts, and rates over the samples in ``pace``; at the first sample, rates since the operation began."""
    from dataclasses import replace

    from semantik_pipeline.cli.pace import measured, sample, since_start
    from semantik_pipeline.ledger.operations import lifecycle

    with runtime.ledger.read() as tx:
        progress = replace(lifecycle.progress(tx, row["id"]), reason=row["reason"])
    pace.add(sample(progress.age, progress))
    return measured(progress, pace if pace.looks > 1 else since_start(progress))


def _attended(call: Invocation, runtime: Runtime, row: dict[str, Any]) -> None:
    """Mark a running operation as blocked if no process works on it, which can happen only without a fleet."""
    alone = not runtime.settings.fleet and row["state"] in ("running", "cancelling")
    if alone and runtime.owner() is None:
        again = call.command(f"operations resume {row['operation']}")
        row.update(state="blocked", reason=f"no process is working on it. Continue: {again}")
        row["progress"].update(bottleneck=None, seconds_left=None)


def _exit_code(answer: dict[str, Any]) -> int:
    from semantik_pipeline.cli.invocation import EXIT

    return EXIT[answer["outcome"]] if answer["state"] == "finished" else 0


def _documents(number: int) -> str:
    from semantik_pipeline.cli.wording import counted

    return counted(number, "document")
