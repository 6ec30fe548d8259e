"""Text output of `semantik eval`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.tables import print_facts, print_table
from semantik_pipeline.cli.wording import counted, duration, printable, short_path

if TYPE_CHECKING:
    from rich.console import Console

NAMES = {"ndcg@10": "nDCG@10", "recall@100": "Recall@100", "mrr@10": "MRR@10"}

#: Legend below a table of ways.
LEGEND = (
    "* the default way. difference and p: nDCG@10 compared with it, by a paired randomization test.\n"
    "better, worse: p is below 0.05, adjusted for the number of ways. p50: median time of a search, without a deadline."
)


def show_measured(console: Console, answer: dict[str, Any]) -> None:
    """Print the measures of one way on a dataset."""
    about = f"{counted(answer['queries'], 'query')}, {counted(answer['documents'], 'document')}"
    print_facts(
        console,
        [
            *((shown, f"{answer[name]:.4f}") for name, shown in NAMES.items()),
            ("over", f"{about}, {counted(answer['chunks'], 'chunk')}"),
            ("took", f"{duration(answer['seconds'])} (indexing {duration(answer['index_seconds'])})"),
            ("way", printable(answer["way"])),
            ("collection", printable(answer["collection"])),
        ],
        indent=0,
    )
    _show_warnings(console, answer)


def show_compared(console: Console, answer: dict[str, Any]) -> None:
    """Print all ways side by side, the recommendation, and the paths of the charts."""
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in answer.get("kinds", {}).items())
    documents = f", {counted(answer['documents'], 'document')}" if "documents" in answer else ""
    console.print(
        f"{printable(answer['subject'])}: "
        f"{counted(answer['queries'], 'query')}{f' ({kinds})' if kinds else ''}{documents}, in "
        f"{duration(answer['seconds'])}\n",
        soft_wrap=True,
    )
    parts = list(answer["ways"][0]["parts"])
    header = ["way", *NAMES.values(), *parts, "p50", "difference", "p", ""]
    print_table(console, header, [_row(one, parts) for one in answer["ways"]])
    console.print(f"\n{LEGEND}", style="dim", soft_wrap=True)
    for name, reason in answer["left_out"].items():
        console.print(f"left out: {printable(name)}: {printable(reason)}", style="yellow", soft_wrap=True)
    advice = answer["recommendation"]
    console.print(f"\n{printable(advice['reason'])}", style="bold", soft_wrap=True)
    for note in advice["notes"]:
        console.print(printable(note), soft_wrap=True)
    for command in advice["commands"]:
        console.print(f"To apply it: {printable(command)}", soft_wrap=True)
    if answer["plots"]:
        console.print(f"Charts: {' and '.join(map(short_path, answer['plots']))}", soft_wrap=True)
    _show_warnings(console, answer)


def show_history(console: Console, rows: list[dict[str, Any]], way_on: str) -> None:
    """Print runs, newest first, with each way's change since its previous measurement."""
    if not rows:
        console.print(f"There are no results yet. Measure: {way_on}", soft_wrap=True)
        return
    header = ["when", "what", "way", "nDCG@10", "Recall@100", "MRR@10", "queries", "change", "p"]
    run: str | None = None
    table, notes = [], []
    for row in rows:
        first = row["run"] != run
        run = row["run"]
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["at"])) if first else ""
        table.append([when, printable(row["subject"]) if first else "", *_past(row)])
        if row["default"] and row["change"] and row["change"]["configured"]:
            notes.append((when, row["change"]["configured"]))
    print_table(console, header, table)
    for when, configured in notes:
        told = ", ".join(f"{name}: {_short(old)} → {_short(new)}" for name, (old, new) in configured.items())
        console.print(f"{when}: changed since the run before: {told}", style="dim", soft_wrap=True)


def _row(one: dict[str, Any], parts: list[str]) -> list[str]:
    return [
        printable(one["way"]) + (" *" if one["default"] else ""),
        *(f"{one[name]:.4f}" for name in NAMES),
        *(f"{one['parts'][part]:.4f}" for part in parts),
        "" if one["p50_ms"] is None else f"{one['p50_ms']:,.1f} ms",
        "" if one["difference"] is None else f"{one['difference']:+.4f}",
        _p(one["p"]),
        one["verdict"] if one["verdict"] in ("better", "worse") else "",
    ]


def _past(row: dict[str, Any]) -> list[str]:
    change = row["change"]
    return [
        printable(row["way"]) + (" *" if row["default"] else ""),
        *(f"{row[name]:.4f}" for name in NAMES),
        f"{row['queries']:,}",
        "" if change is None else f"{change['difference']:+.4f}",
        "" if change is None else _p(change["p"]),
    ]


def _p(p: float | None) -> str:
    return "" if p is None else f"{p:.4f}" if p >= 0.0001 else "<0.0001"


def _short(value: Any) -> str:
    text = printable(str(value))
    return "nothing" if value is None else text if len(text) <= 60 else f"{text[:59]}…"


def _show_warnings(console: Console, answer: dict[str, Any]) -> None:
    for warning in answer["warnings"]:
        console.print(f"note: {printable(warning)}", style="yellow", soft_wrap=True)
