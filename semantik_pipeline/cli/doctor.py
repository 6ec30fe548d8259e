"""``semantik doctor``: check everything that this installation needs, and suggest fixes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from semantik_pipeline.cli.invocation import begin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from semantik_pipeline.doctor import Finding

#: Exit code by the worst status of all findings.
CODES = {"ok": 0, "warning": 3, "broken": 1}

STYLES = {"ok": "green", "warning": "yellow", "broken": "red"}


def doctor(context: typer.Context) -> int:
    """Check servers, schema, queues, index, plugins, models, disks, clock, workers and sources. Changes nothing.

    Exit codes: 0 no problem, 1 something is broken, 3 warnings only.
    """
    call = begin(context)
    from semantik_pipeline.doctor import examine, verdict
    from semantik_pipeline.runtime import Runtime

    with Runtime(call.settings()) as runtime:
        findings = examine(runtime)
    found = verdict(findings)
    answer = {"status": found, "findings": [finding.to_dict() for finding in findings]}
    call.output.give(answer, lambda console: show_findings(console, findings))
    return CODES[found]


def show_findings(console: Console, findings: Sequence[Finding]) -> None:
    from semantik_pipeline.cli.wording import counted, printable

    width = max(len(printable(finding.check)) for finding in findings)
    for finding in findings:
        took = f" ({finding.seconds * 1000:,.0f} ms)" if finding.seconds is not None else ""
        console.print(f"{finding.status:<9}", style=STYLES[finding.status], end="")
        console.print(f"{printable(finding.check):<{width}}  {printable(finding.message)}{took}", soft_wrap=True)
        if finding.remedy:
            console.print(f"{'':<{width + 11}}{printable(finding.remedy)}", soft_wrap=True)
    states = [finding.status for finding in findings]
    bad, odd = states.count("broken"), states.count("warning")
    console.print("\nNo problems found." if not bad + odd else f"\n{bad} broken, {counted(odd, 'warning')}.")
