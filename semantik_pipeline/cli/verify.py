"""``semantik verify``: compare ledger and index point by point, and repair differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.documents import CollectionOption
from semantik_pipeline.cli.invocation import Invocation, begin

if TYPE_CHECKING:
    from rich.console import Console

    from semantik_pipeline.verification import VerificationReport

#: Kinds of differences between ledger and index.
WRONG = ("missing", "orphaned", "stale")

#: Maximum number of affected documents that are listed.
EXAMPLES = 10


def verify(
    context: typer.Context,
    collection: CollectionOption = None,
    repair: Annotated[bool, typer.Option("--repair", help="Repair the differences, then compare again.")] = False,
) -> int:
    """Compare the index with the database, point by point. Exit code 1 if they differ."""
    call = begin(context)
    report, before = _repaired(call, collection) if repair else (_verified(call, collection), None)
    answer = {**report.to_dict(), "clean": report.clean, "examples": report.examples}
    if before is not None:
        answer["repaired"] = {name: before.to_dict()[name] for name in WRONG}
    call.output.give(answer, lambda console: show_report(call, console, answer))
    return 0 if report.clean else 1


def _verified(call: Invocation, collection: str | None) -> VerificationReport:
    from semantik_pipeline import verification
    from semantik_pipeline.cli.working import owning

    with owning(call) as runtime:
        return verification.verify(runtime, collection)


def _repaired(call: Invocation, collection: str | None) -> tuple[VerificationReport, VerificationReport]:
    """Compare, repair, and compare again. Returns the report after the repair and the report before it."""
    from semantik_pipeline import operations, verification
    from semantik_pipeline.cli.progress import watching
    from semantik_pipeline.cli.working import at_work

    with at_work(call) as runtime:
        before = verification.verify(runtime, collection)
        for operation in verification.repair(runtime, before):
            with watching() as watch:
                operations.wait(runtime, operation, watch)
        return verification.verify(runtime, collection), before


def show_report(call: Invocation, console: Console, answer: dict[str, Any]) -> None:
    from semantik_pipeline.cli.wording import counted, place

    console.print(
        f"{counted(answer['documents'], 'document')}: {answer['points_expected']:,} points expected,"
        f" {answer['points_found']:,} found.",
        soft_wrap=True,
    )
    repaired = answer.get("repaired")
    if repaired and any(repaired.values()):
        console.print(f"Repaired: {_sums(repaired)}.")
    if answer["pending"]:
        console.print(f"Not compared: {counted(answer['pending'], 'document')} in progress.")
    if answer["clean"]:
        console.print("Nothing is missing, orphaned or stale.", style="green")
        return
    console.print(f"Wrong points: {_sums(answer)}.", style="red")
    for name in answer["examples"]:
        console.print(f"  {place(name)}", soft_wrap=True)
    console.print(f"Repair it: {call.command('verify --repair')}", soft_wrap=True)


def _sums(counts: dict[str, Any]) -> str:
    return ", ".join(f"{counts[name]:,} {name}" for name in WRONG)
